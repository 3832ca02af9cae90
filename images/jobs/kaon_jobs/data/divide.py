"""Dividing rows into train, validation and test: seeded, stratified, and the same on every machine. Pure.

A row's turn in the draw is the SHA-256 of the seed and its own key: its text, or a digest of its features. So a draw
depends on no library's random numbers, nor on the order of the rows, and rows that are added later move few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from kaon.api.dataset import Split
from kaon_jobs.errors import StageFailure

_NAMED = 5
"""Classes that a message tells of."""
_BINS = 10
"""Parts of the range of numbers of which each gives its share of rows."""

Divided = dict[str, list[int]]
"""Split -> row indices, ascending."""


def divide(
    rows: Sequence[int],
    keys: Mapping[int, str],
    labels: Mapping[int, str] | Mapping[int, float],
    pinned: Mapping[int, str | None],
    spec: Split,
    place: Callable[[int], str],
) -> Divided:
    """Gives each row its split.

    Rows of test sources are the test split. Only without any, a share of the rows whose source names no split is
    drawn for it. Validation is drawn from what trains.

    Args:
        labels: classes, or numbers.
        place: where a row stands, for people.

    Raises:
        StageFailure: ClassTooSmall, TestSplitEmpty or TrainSplitEmpty.
    """
    test = [row for row in rows if pinned[row] == "test"]
    train = [row for row in rows if pinned[row] != "test"]
    if not test and spec.test > 0:
        free = [row for row in train if pinned[row] is None]
        fixed = [row for row in train if pinned[row] is not None]
        needed = 3 if spec.validation > 0 and not fixed else 2
        test = draw(free, keys, labels, spec.test, spec, "test", needed, place)
        taken = set(test)
        train = [row for row in train if row not in taken]
    if not test:
        raise _no_test(len(train), sum(pinned[row] is None for row in train), spec)
    validation: list[int] = []
    if spec.validation > 0:
        validation = draw(train, keys, labels, spec.validation, spec, "validation", 2, place)
    taken = set(validation)
    train = [row for row in train if row not in taken]
    if not train:
        cause = (
            f"Of {len(rows)} rows, {len(test)} are the test split and {len(validation)} the validation split"
            if len(test) < len(rows)
            else f"All {len(rows)} rows are the test split"
        )
        raise StageFailure(
            "TrainSplitEmpty",
            f"{cause}, so none is left to train on. Add a source to train on, or lower spec.split.test and "
            "spec.split.validation.",
        )
    return {"train": sorted(train), "validation": sorted(validation), "test": sorted(test)}


def _no_test(rows: int, free: int, spec: Split) -> StageFailure:
    if spec.test == 0:
        cause = "no source has split: test, and spec.split.test is 0. Give a source split: test, or raise it"
    elif not free:
        cause = "every source has split: train. Give one split: test, or leave `split` away from one"
    else:
        cause = f"a share of {spec.test:g} of {free} rows is none. Add rows, or raise spec.split.test"
    return StageFailure("TestSplitEmpty", f"A model is measured on test rows, and there are none: {cause}.")


def draw(
    rows: Sequence[int],
    keys: Mapping[int, str],
    labels: Mapping[int, str] | Mapping[int, float],
    share: float,
    spec: Split,
    name: str,
    needed: int,
    place: Callable[[int], str],
) -> list[int]:
    """A share of the rows, and never all of them.

    When stratified, the share of each class, at least one row; of numbers the share of each tenth of the rows in the
    order of their labels, so that the splits have about the same quantiles.
    """

    def turn(row: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{spec.seed}:{name}:{keys[row]}".encode()).digest(), row

    if not spec.stratify:
        return sorted(rows, key=turn)[: round(share * len(rows))]
    if rows and isinstance(labels[rows[0]], float):
        ordered = sorted(rows, key=lambda row: (labels[row], turn(row)))
        return _of_bins(ordered, max(0, min(max(1, round(share * len(rows))), len(rows) - (needed - 1))), turn)
    by_class: dict[str | float, list[int]] = defaultdict(list)
    for row in rows:
        by_class[labels[row]].append(row)
    small = sorted((len(members), members[0]) for members in by_class.values() if len(members) < needed)
    if small:
        # A label that is no class yet is somebody's data: its row is named, and not the label.
        listed = ", ".join(f"{place(first)} ({count})" for count, first in small[:_NAMED])
        more = f" and {len(small) - _NAMED:,} more" if len(small) > _NAMED else ""
        raise StageFailure(
            "ClassTooSmall",
            f"A stratified split needs at least {needed} rows of each class. Classes with too few: {len(small):,}. The "
            f"first row of each, and its number of rows: {listed}{more}. "
            "Add rows, leave these classes out, or set spec.split.stratify to false.",
        )
    drawn: list[int] = []
    for members in by_class.values():
        # What the following draws need of this class stays: needed - 1 rows.
        count = min(max(1, round(share * len(members))), len(members) - (needed - 1))
        drawn.extend(sorted(members, key=turn)[:count])
    return drawn


def _of_bins(ordered: Sequence[int], count: int, turn: Callable[[int], tuple[bytes, int]]) -> list[int]:
    """So many rows, from each of the bins of equally many rows the same number, or one more."""
    bins = min(_BINS, count)
    drawn: list[int] = []
    for index in range(bins):
        members = ordered[index * len(ordered) // bins : (index + 1) * len(ordered) // bins]
        wanted = (index + 1) * count // bins - index * count // bins
        drawn.extend(sorted(members, key=turn)[:wanted])
    return drawn
