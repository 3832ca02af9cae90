"""Whether the test split is held out at all: rows of it whose text was there to train or to choose by. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kaon_jobs.data.clean import normalised
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure

NAMED = 20
"""Rows named in the message; more are counted."""


def leaked(test: Rows, others: Mapping[str, Rows]) -> dict[str, list[tuple[int, int]]]:
    """By split, the (test row, its row) ids that have the same text: case folded, white space collapsed."""
    by_text: dict[str, int] = {}
    for text, row in zip(test.texts, test.row_ids, strict=True):
        by_text.setdefault(normalised(text), int(row))
    found: dict[str, list[tuple[int, int]]] = {}
    for name, rows in others.items():
        for text, row in zip(rows.texts, rows.row_ids, strict=True):
            same = by_text.get(normalised(text))
            if same is not None:
                found.setdefault(name, []).append((same, int(row)))
    return found


def check_held_out(test: Rows, others: Mapping[str, Rows]) -> None:
    """Refuses a test split that is not held out.

    Raises:
        StageFailure: TestSplitLeaked, with the rows' ids.
    """
    found = leaked(test, others)
    if not found:
        return
    told = []
    for name, pairs in found.items():
        listed = ", ".join(f"{row} (test {same})" for same, row in pairs[:NAMED])
        more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
        told.append(f"{name} rows {listed}{more}")
    count = sum(len(pairs) for pairs in found.values())
    raise StageFailure(
        "TestSplitLeaked",
        f"{count} row{'s' if count != 1 else ''} outside of the test split have the text of a test row: "
        f"{'; '.join(told)}. A model has seen them, so no verdict on this test split means anything. Remove them from "
        "the sources, and run the Dataset and the TrainingRun again",
    )
