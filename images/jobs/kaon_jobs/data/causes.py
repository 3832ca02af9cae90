"""Why rows cannot be divided: the true cause, when cleaning took them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from kaon_jobs.data.cells import is_missing
from kaon_jobs.data.clean import Cleaned
from kaon_jobs.data.rows import Table
from kaon_jobs.errors import StageFailure


def check_left(table: Table, cleaned: Cleaned) -> None:
    """Refuses rows of which cleaning has left none for a split that the sources name.

    Raises:
        StageFailure: SourceEmpty, TestLabelsMissing, TestRowsMissing or TrainSplitEmpty.
    """
    everything, what = range(len(table)), table.columns.what
    if not cleaned.kept:
        raise StageFailure("SourceEmpty", f"No row is left to divide. {removed(table, cleaned)}".rstrip())
    test = [row for row in everything if table.pinned[row] == "test"]
    kept_test = [row for row in cleaned.kept if table.pinned[row] == "test"]
    if test and not kept_test:
        raise _unusable_test(table, test)
    if len(kept_test) == len(cleaned.kept) and cleaned.leaked:
        count = len(table) - len(test)
        first = cleaned.leaked[0]
        key = cleaned.keys[first]
        twin = next(row for row in kept_test if cleaned.keys[row] == key)
        usable = "" if len(cleaned.leaked) == count else f" {removed(table, cleaned)}"
        raise StageFailure(
            "TrainSplitEmpty",
            f"All {len(cleaned.leaked)} training rows stand in the test source, so none is left to train on: "
            f"{table.place(first)} has the {what} of {table.place(twin)}. Name another file for one of the two."
            f"{usable}",
        )


def _unusable_test(table: Table, test: Sequence[int]) -> StageFailure:
    no_label = int(table.unlabelled[test].sum())
    first = table.place(test[0])
    if no_label == len(test):
        return StageFailure(
            "TestLabelsMissing",
            f"All {len(test)} rows of the test source have no label, first {first}. A model is measured against the "
            "labels of the test split: fill them in, or remove the source and set spec.split.test above 0.",
        )
    return StageFailure(
        "TestRowsMissing",
        f"None of the {len(test)} rows of the test source has both {table.columns.what} and label, first "
        f"{first}. Fill them in, or remove the source and set spec.split.test above 0.",
    )


@contextmanager
def explaining(table: Table, cleaned: Cleaned) -> Iterator[None]:
    """A failure inside tells what cleaning removed; first, when that is half of the rows."""
    try:
        yield
    except StageFailure as failure:
        note = removed(table, cleaned)
        if not note:
            raise
        parts = (note, failure.message) if 2 * len(cleaned.kept) <= len(table) else (failure.message, note)
        raise StageFailure(failure.reason, " ".join(parts), retriable=failure.retriable) from failure


def removed(table: Table, cleaned: Cleaned) -> str:
    """What cleaning removed, in one sentence; empty when nothing."""
    unlabelled, what = table.unlabelled, table.columns.what
    lacking = np.logical_and.reduce([is_missing(values) for values in table.features])
    no_label = [row for row in cleaned.missing if unlabelled[row] and not lacking[row]]
    others = [row for row in cleaned.missing if not unlabelled[row] or lacking[row]]
    found = (
        (cleaned.duplicates, f"repeat the {what} of an earlier row"),
        (cleaned.leaked, f"have the {what} of a test row"),
        (no_label, "have no label"),
        (others, cleaned.lacks),
    )
    parts = [f"{len(rows)} {what} (first: {table.place(rows[0])})" for rows, what in found if rows]
    return f"Of {len(table)} rows, {_joined(parts)}; these were left out." if parts else ""


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
