"""Columns of a table as a model reads them: which categories it knows, and what each number of a row is. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kaon.api.dataset import Feature
from kaon.contract.manifest import Column
from kaon_jobs.predict.onnx_model import Row
from kaon_jobs.runtime.table import WIDTHS

MAX_CATEGORIES = 1000
"""Of a column; a rarer one is read as unknown, which is as missing."""


def columns_of(features: Sequence[Feature], rows: Sequence[Row]) -> list[Column]:
    """The columns with the categories that these rows have, the most frequent first, then by name."""
    found = []
    for index, feature in enumerate(features):
        names: list[str] = []
        if feature.type == "category":
            counts = Counter(str(row[index]) for row in rows if row[index] is not None)
            names = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_CATEGORIES]
        found.append(Column(name=feature.name, type=feature.type, categories=names))
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """What the numbers of a row are, by their places."""

    numbers: tuple[int, ...]
    """Places of numbers, those that a point in time becomes among them."""
    categories: tuple[tuple[int, int], ...]
    """Place of the id of a category, and how many categories its column has."""
    columns: tuple[int, ...]
    """The first place of each column: a column is missing where this is."""

    @classmethod
    def of(cls, columns: Sequence[Column]) -> Layout:
        numbers: list[int] = []
        categories: list[tuple[int, int]] = []
        first: list[int] = []
        at = 0
        for column in columns:
            first.append(at)
            if column.type == "category":
                categories.append((at, len(column.categories)))
            else:
                numbers.extend(range(at, at + WIDTHS[column.type]))
            at += WIDTHS[column.type]
        return cls(tuple(numbers), tuple(categories), tuple(first))
