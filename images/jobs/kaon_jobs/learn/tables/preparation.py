"""Numbers of a row as a linear model or a neural net takes them: nothing missing, of one scale, a 1 for a category.

A missing number is the median of its column, so it says nothing; where training rows miss values, a further number says
that it was missing. A category becomes a 1 among zeros; an unknown or missing one becomes zeros alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from kaon_jobs.learn.tables.columns import Layout
from kaon_jobs.learn.tables.graph import Graph
from kaon_jobs.learn.tables.material import Floats, Ids

MAX_ONES = 4096
"""Numbers that categories become, of all columns together; each column's most frequent categories count."""
LARGEST = 1e37
"""A larger number counts as this: the difference of two is still a float32."""
FARTHEST = 10.0
"""Standard deviations; a number farther from the mean counts as if it were this far."""
_SMOOTH = 3.0
"""At this many scales a number is bent to 0.7 of them, and at any number to less than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """Numbers of rows [rows, width] to numbers [rows, wider]."""

    numbers: Ids
    """Places of numbers in a row."""
    fill: Floats
    centre: Floats
    scale: Floats
    """By number; 0 where all training rows have the same."""
    low: Floats
    high: Floats
    """By number; a smaller or larger one counts as this."""
    bent: bool
    """Whether far numbers are drawn in smoothly."""
    flags: Ids
    """Places whose absence is told."""
    places: Ids
    ids: Floats
    """By category: its column's place, and its id."""

    @classmethod
    def of(cls, rows: Floats, layout: Layout, kind: Literal["standard", "robust"]) -> Preparation:
        """What these rows say, NaN where a value is missing.

        Args:
            kind: mean and standard deviation, cut at ten of them; or median and quartiles, bent smoothly to less than
                three of their distances (Holzmüller et al. 2024, arXiv 2407.04491).
        """
        numbers = np.asarray(layout.numbers, np.int64)
        values = rows[:, numbers].astype(np.float64)
        there = ~np.isnan(values).all(axis=0)
        fill, centre, scale = np.zeros(len(numbers)), np.zeros(len(numbers)), np.zeros(len(numbers))
        if there.any():
            known = values[:, there]
            fill[there] = np.nanmedian(known, axis=0)
            filled = np.where(np.isnan(known), fill[there], known)
            if kind == "standard":
                centre[there] = filled.mean(axis=0)
                scale[there] = _inverse(filled.std(axis=0), filled)
            else:
                centre[there] = fill[there]
                quarter, three = np.nanquantile(known, (0.25, 0.75), axis=0)
                spread = np.where(three > quarter, three - quarter, np.ptp(filled, axis=0) / 2)
                scale[there] = _inverse(spread, known)
        reach = np.where(scale > 0, (FARTHEST if kind == "standard" else 1000.0) / np.where(scale > 0, scale, 1), 0)
        most = max(1, MAX_ONES // max(1, len(layout.categories)))
        ones = [(place, one) for place, count in layout.categories for one in range(min(count, most))]
        return cls(
            numbers=numbers,
            fill=fill.astype(np.float32),
            centre=centre.astype(np.float32),
            scale=scale.astype(np.float32),
            low=np.maximum(centre - reach, -LARGEST).astype(np.float32),
            high=np.minimum(centre + reach, LARGEST).astype(np.float32),
            bent=kind == "robust",
            flags=np.asarray([place for place in layout.columns if np.isnan(rows[:, place]).any()], np.int64),
            places=np.asarray([place for place, _ in ones], np.int64),
            ids=np.asarray([one for _, one in ones], np.float32),
        )

    @property
    def width(self) -> int:
        """Numbers that a row becomes; at least one."""
        return max(1, len(self.numbers) + len(self.flags) + len(self.places))

    def apply(self, rows: Floats) -> Floats:
        """[rows, width], float32."""
        values = rows[:, self.numbers]
        values = np.where(np.isnan(values), self.fill, values)
        values = (np.minimum(np.maximum(values, self.low), self.high) - self.centre) * self.scale
        if self.bent:
            values = values / np.sqrt(1 + (values / np.float32(_SMOOTH)) ** 2)
        parts = [values, np.isnan(rows[:, self.flags]), rows[:, self.places] == self.ids]
        found = np.concatenate([part.astype(np.float32) for part in parts], axis=1)
        return found if found.shape[1] else np.zeros((len(rows), 1), np.float32)

    def add_to(self, graph: Graph, rows: str) -> str:
        """The same as nodes of a graph."""
        parts = []
        if len(self.numbers):
            given = graph.add("Gather", rows, self.numbers, axis=1)
            values = graph.add("Where", graph.add("IsNaN", given), self.fill, given)
            values = graph.add("Min", graph.add("Max", values, self.low), self.high)
            values = graph.add("Mul", graph.add("Sub", values, self.centre), self.scale)
            if self.bent:
                part = graph.add("Div", values, _SMOOTH)
                squared = graph.add("Add", graph.add("Mul", part, part), 1.0)
                values = graph.add("Div", values, graph.add("Sqrt", squared))
            parts.append(values)
        if len(self.flags):
            missing = graph.add("IsNaN", graph.add("Gather", rows, self.flags, axis=1))
            parts.append(graph.add("Cast", missing, to=TensorProto.FLOAT))
        if len(self.places):
            same = graph.add("Equal", graph.add("Gather", rows, self.places, axis=1), self.ids)
            parts.append(graph.add("Cast", same, to=TensorProto.FLOAT))
        if not parts:
            first = graph.add("IsNaN", graph.add("Gather", rows, np.asarray([0], np.int64), axis=1))
            parts.append(graph.add("Mul", graph.add("Cast", first, to=TensorProto.FLOAT), 0.0))
        return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _inverse(spread: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / spread; 0 where the numbers differ by no more than float32 tells apart."""
    least = np.finfo(np.float32).eps * np.nanmax(np.abs(values), axis=0)
    return np.where(spread > least, 1 / np.where(spread > least, spread, 1), 0)
