"""Cleaning: which rows stay, which go and why. Pure: a table in, row numbers out."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from kaon.api.dataset import Clean
from kaon_jobs.data.cells import Values, as_numpy, is_missing
from kaon_jobs.data.rows import Table
from kaon_jobs.errors import StageFailure

_BLOCK_ROWS = 8192


@dataclass(slots=True)
class Cleaned:
    """The rows that stay, and what was removed. All lists hold row indices of the table."""

    kept: list[int] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    """Of each kept row: what it is compared by with others. Of a text its normal form, of an image or a table's
    row a digest."""
    missing: list[int] = field(default_factory=list)
    lacks: str = "have no text"
    """What the missing rows that have a label lack, for people."""
    duplicates: list[int] = field(default_factory=list)
    leaked: list[int] = field(default_factory=list)
    """Rows dropped because a test row has their key."""
    conflicts: list[int] = field(default_factory=list)
    """First rows of keys that occur with more than one label."""
    compared: bool = True
    """Whether rows can have the same key: else each row of a table is a case of its own."""


def clean(table: Table, rules: Clean) -> Cleaned:
    """Drops rows with missing values, rows that repeat, and rows whose key is in a source of the test split.

    A row without a label always goes. A missing feature is what the rules say; a row that has none at all goes.
    A key that stands in both a test source and another one stays in test: what is measured is never trained on. The
    repetitions inside of a test source stay: a benchmark is measured as it was given, so that figures can be compared.

    Raises:
        StageFailure: values are missing and the rules forbid it.
    """
    tables = table.columns.are_of_tables
    rules = rules.settled(tables=tables)
    once = rules.duplicates.method == "exact"
    found = Cleaned(compared=not tables or once)
    gone = _missing(table, rules, found)
    keys = _keys(table, alike=once)
    labels: Sequence[object] = table.targets if table.columns.numeric else table.labels
    labels_of: dict[str, tuple[int, set[object]]] = {}
    seen: set[str] = set()
    for row, (key, lost, label) in enumerate(zip(keys, gone.tolist(), labels, strict=True)):
        if lost:
            continue
        if found.compared:
            labels_of.setdefault(key, (row, set()))[1].add(label)
        if once and table.pinned[row] != "test":
            if key in seen:
                found.duplicates.append(row)
                continue
            seen.add(key)
        found.kept.append(row)
        found.keys[row] = key
    found.conflicts = [row for row, different in labels_of.values() if len(different) > 1]
    drop_leaked(found, {found.keys[row] for row in found.kept if table.pinned[row] == "test"}, table)
    return found


def _keys(table: Table, *, alike: bool) -> Iterator[str]:
    """What each row is compared by."""
    match table.columns.rows_are:
        case "text":
            return map(normalised, table.texts)
        case "image":
            return (picture.digest if picture is not None else "" for picture in table.pictures)
        case _:
            return row_digests(table.features, alike=alike)


def _missing(table: Table, rules: Clean, found: Cleaned) -> NDArray[np.bool_]:
    """Which rows go for their missing values."""
    every = map(is_missing, table.features)
    keep = rules.missing == "keep"
    gone = table.unlabelled | reduce(np.logical_and if keep else np.logical_or, every)
    found.missing = np.flatnonzero(gone).tolist()
    what = table.columns.what
    found.lacks = f"have no {what}"
    if table.columns.are_of_tables:
        found.lacks = "have no value in any feature" if keep else "have a missing feature"
    if found.missing and rules.missing == "fail":
        row = found.missing[0]
        what, others, empty = f"no {what}", "drop", ""
        if table.columns.are_of_tables:
            what, others = "a missing feature", "keep or drop"
            empty = next(
                (
                    f", in the column {feature.name!r}"
                    for feature, values in zip(table.columns.features, table.features, strict=True)
                    if is_missing(values[row : row + 1])[0]
                ),
                f", in the column {table.columns.label!r}",
            )
        raise StageFailure(
            "MissingValues",
            f"{len(found.missing)} rows have {what} or no label, first {table.place(row)}{empty}. "
            f"Fill them in, or set spec.clean.missing to {others}.",
        )
    return gone


def drop_leaked(found: Cleaned, test_keys: set[str], table: Table) -> None:
    """Moves the rows outside of the test sources whose key is among `test_keys` from kept to leaked."""
    staying = []
    for row in found.kept:
        if table.pinned[row] != "test" and found.keys[row] in test_keys:
            found.leaked.append(row)
        else:
            staying.append(row)
    found.kept = staying


def normalised(text: str | None) -> str:
    """The form in which texts are compared: Unicode NFC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text or "").casefold().split())


def row_digests(features: Sequence[Values], *, alike: bool) -> Iterator[str]:
    """A digest of the features of each row, which no order of rows and no library changes.

    Args:
        alike: whether equal rows have the same one. Else the second of two has one of its own.
    """
    counted: Counter[str] = Counter()
    hashes: dict[str | None, int] = {None: 0}
    for start in range(0, len(features[0]), _BLOCK_ROWS):
        words = [_words(values[start : start + _BLOCK_ROWS], hashes) for values in features]
        for row in np.column_stack(words).astype("<u8"):
            digest = hashlib.sha256(row.tobytes()).hexdigest()[:32]
            counted[digest] += 1
            yield digest if alike or counted[digest] == 1 else f"{digest} {counted[digest]}"


def _words(values: Values, hashes: dict[str | None, int]) -> NDArray[np.uint64]:
    """Each value as 8 bytes: what it is, or the hash of a text."""
    if isinstance(values, list):
        for value in set(values) - hashes.keys():
            raw = hashlib.blake2b((value or "").encode(), digest_size=8).digest()
            hashes[value] = int.from_bytes(raw, "little")
        return np.array([hashes[value] for value in values], np.uint64)
    found = as_numpy(values)
    if values.typecode == "d":
        # -0.0 is 0.0, and each NaN has the same bits.
        found = np.where(np.isnan(found), np.nan, found + 0.0)
    return found.view(np.uint64)
