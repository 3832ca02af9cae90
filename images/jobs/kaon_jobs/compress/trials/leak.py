"""Whether the test split is held out at all: rows of it that were there to train or to choose by. Pure.

A text or an array that is found again is the same row. Two rows of a table may be alike and yet be two, as two sales
at one price: of a table the rows' ids tell. Of interactions a user has a row in each split: a row is leaked when the
model has learnt one of the very items that it asks for.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from kaon_jobs.data.clean import normalised
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure
from kaon_jobs.predict.onnx_model import Example

NAMED = 20
"""Rows named in the message; more are counted."""


def leaked(test: Rows, others: Mapping[str, Rows]) -> dict[str, list[tuple[int, int]]]:
    """By split, the (test row, its row) ids that are the same row."""
    if test.targets.dtype == np.object_:
        return _leaked_items(test, others)
    of_test: dict[Hashable, int] = {}
    for example, row in zip(test.inputs, test.row_ids, strict=True):
        of_test.setdefault(_likeness(example, int(row)), int(row))
    found: dict[str, list[tuple[int, int]]] = {}
    for name, rows in others.items():
        for example, row in zip(rows.inputs, rows.row_ids, strict=True):
            same = of_test.get(_likeness(example, int(row)))
            if same is not None:
                found.setdefault(name, []).append((same, int(row)))
    return found


def _leaked_items(test: Rows, others: Mapping[str, Rows]) -> dict[str, list[tuple[int, int]]]:
    asked = {int(row): set(wanted.tolist()) for row, wanted in zip(test.row_ids, test.targets, strict=True)}
    found: dict[str, list[tuple[int, int]]] = {}
    for name, rows in others.items():
        for row, taken in zip(rows.row_ids, rows.targets, strict=True):
            if not asked.get(int(row), set()).isdisjoint(taken.tolist()):
                found.setdefault(name, []).append((int(row), int(row)))
    return found


def _likeness(example: Example, row: int) -> Hashable:
    """Equal for what counts as the same: texts case folded, white space collapsed; images by their pixels; arrays to
    the last bit."""
    if isinstance(example, str):
        return normalised(example)
    if isinstance(example, bytes):
        # It brings Pillow, which other models do not need.
        from kaon_jobs.data.pictures import pixels_digest
        from kaon_jobs.runtime.image import decoded

        return pixels_digest(decoded(example))
    return row if isinstance(example, tuple) else example.tobytes()


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
    of = "id" if isinstance(test.inputs[0], tuple) else "input"
    raise StageFailure(
        "TestSplitLeaked",
        f"{count} row{'s' if count != 1 else ''} outside of the test split have the {of} of a test row: "
        f"{'; '.join(told)}. A model has seen them, so no verdict on this test split means anything. Remove them from "
        "the sources, and run the Dataset and the TrainingRun again",
    )
