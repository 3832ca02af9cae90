"""Dividing rows into train, validation and test: seeded, stratified, and the same on every machine. Pure.

A row's turn in the draw is the SHA-256 of the seed and its own text. So a draw depends on no library's random numbers,
nor on the order of the rows, and rows that are added later move few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from kaon.api.dataset import Split
from kaon_jobs.errors import StageFailure

Divided = dict[str, list[int]]
"""Split -> row indices, ascending."""


def divide(
    rows: Sequence[int],
    keys: Mapping[int, str],
    labels: Mapping[int, str],
    pinned: Mapping[int, str | None],
    spec: Split,
) -> Divided:
    """Gives each row its split.

    Rows of test sources are the test split. Only without any, a share of the rows whose source names no split is
    drawn for it. Validation is drawn from what trains.

    Raises:
        StageFailure: ClassTooSmall, TestSplitEmpty or TrainSplitEmpty.
    """
    test = [row for row in rows if pinned[row] == "test"]
    train = [row for row in rows if pinned[row] != "test"]
    if not test and spec.test > 0:
        free = [row for row in train if pinned[row] is None]
        fixed = [row for row in train if pinned[row] is not None]
        needed = 3 if spec.validation > 0 and not fixed else 2
        test = draw(free, keys, labels, spec.test, spec, "test", needed)
        taken = set(test)
        train = [row for row in train if row not in taken]
    if not test:
        raise StageFailure(
            "TestSplitEmpty",
            "there are no test rows, and a model is never accepted unmeasured; give a source split: test, "
            "or leave `split` away from a source and set spec.split.test above 0",
        )
    validation = draw(train, keys, labels, spec.validation, spec, "validation", 2) if spec.validation > 0 else []
    taken = set(validation)
    train = [row for row in train if row not in taken]
    if not train:
        raise StageFailure("TrainSplitEmpty", "no row is left to train on; lower spec.split.test and validation")
    return {"train": sorted(train), "validation": sorted(validation), "test": sorted(test)}


def draw(
    rows: Sequence[int],
    keys: Mapping[int, str],
    labels: Mapping[int, str],
    share: float,
    spec: Split,
    name: str,
    needed: int,
) -> list[int]:
    """A share of the rows, by class when stratified; at least one row of each class, and never all of them."""

    def turn(row: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{spec.seed}:{name}:{keys[row]}".encode()).digest(), row

    if not spec.stratify:
        return sorted(rows, key=turn)[: round(share * len(rows))]
    by_class: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        by_class[labels[row]].append(row)
    small = sorted((len(members), label) for label, members in by_class.items() if len(members) < needed)
    if small:
        listed = ", ".join(f"{label!r} ({count})" for count, label in small[:10])
        raise StageFailure(
            "ClassTooSmall",
            f"a stratified split needs at least {needed} rows of each class; too few: {listed}. "
            "Add rows, leave these classes out, or set spec.split.stratify to false",
        )
    drawn: list[int] = []
    for members in by_class.values():
        # What the following draws need of this class stays: needed - 1 rows.
        count = min(max(1, round(share * len(members))), len(members) - (needed - 1))
        drawn.extend(sorted(members, key=turn)[:count])
    return drawn
