"""Cleaning: which rows stay, which go and why. Pure: a table in, row numbers out."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from kaon.api.dataset import Clean
from kaon_jobs.data.rows import Table
from kaon_jobs.errors import StageFailure


@dataclass(slots=True)
class Cleaned:
    """The rows that stay, and what was removed. All lists hold row indices of the table."""

    kept: list[int] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    """Of each kept row: its text as it is compared with others."""
    missing: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    leaked: list[int] = field(default_factory=list)
    """Rows dropped because a test row has their text."""
    conflicts: list[int] = field(default_factory=list)
    """First rows of texts that occur with more than one label."""


def clean(table: Table, rules: Clean) -> Cleaned:
    """Drops rows without text or label, rows that repeat, and rows whose text is in a source of the test split.

    A text that stands in both a test source and another one stays in test: what is measured is never trained on. The
    repetitions inside of a test source stay: a benchmark is measured as it was given, so that figures can be compared.

    Raises:
        StageFailure: values are missing and the rules forbid it.
    """
    found = Cleaned()
    labels_of: dict[str, tuple[int, set[str]]] = {}
    seen: set[str] = set()
    for row, (text, label) in enumerate(zip(table.texts, table.labels, strict=True)):
        if text is None or label is None:
            found.missing.append(row)
            continue
        key = normalised(text)
        labels_of.setdefault(key, (row, set()))[1].add(label)
        if rules.duplicates.method == "exact" and table.pinned[row] != "test":
            if key in seen:
                found.duplicates.append(row)
                continue
            seen.add(key)
        found.kept.append(row)
        found.keys[row] = key
    if found.missing and rules.missing == "fail":
        raise StageFailure(
            "MissingValues",
            f"{len(found.missing)} rows have no text or no label, first {table.place(found.missing[0])}. "
            "Fill them in, or set spec.clean.missing to drop.",
        )
    found.conflicts = [row for row, labels in labels_of.values() if len(labels) > 1]
    drop_leaked(found, {found.keys[row] for row in found.kept if table.pinned[row] == "test"}, table)
    return found


def drop_leaked(found: Cleaned, test_keys: set[str], table: Table) -> None:
    """Moves the rows outside of the test sources whose text is among `test_keys` from kept to leaked."""
    staying = []
    for row in found.kept:
        if table.pinned[row] != "test" and found.keys[row] in test_keys:
            found.leaked.append(row)
        else:
            staying.append(row)
    found.kept = staying


def normalised(text: str) -> str:
    """The form in which texts are compared: Unicode NFC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
