"""Structures of an encoder: which there are, what they cost, which of them a budget allows. Pure.

Size and speed of a structure do not depend on its weights. So a few are built and timed untrained, two straight lines
are laid through what was measured, and of all others only those that can keep the budget are ever trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaon.api.compressionjob import Prune, Step, Vocabulary


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the trained model: what a structure is a part of."""

    depth: int
    hidden: int
    width: int
    """Of the feed-forward parts."""
    sequence: int
    """Tokens it reads at most."""
    tokens: tuple[tuple[int, int], ...]
    """(times that the training texts must hold a token for it to stay, tokens that stay)."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Which layers stay, the share of each feed-forward part that goes, how rare a token may be."""

    layers: tuple[int, ...]
    narrowed: float
    min_count: int

    def steps(self, shape: Shape) -> tuple[Step, ...]:
        """How it is made, without training."""
        made = [Step(vocabulary=Vocabulary(min_count=self.min_count))]
        if len(self.layers) < shape.depth:
            made.append(Step(prune=Prune(method="layers", keep_layers=list(self.layers))))
        if self.narrowed:
            made.append(Step(prune=Prune(method="ffn", ratio=self.narrowed)))
        return tuple(made)

    def work(self, shape: Shape) -> float:
        """Multiplications of one prediction. The last feed-forward part sees a single token (first_token.py)."""
        hidden, width, sequence = shape.hidden, shape.width * (1 - self.narrowed), shape.sequence
        attention = sequence * 3 * hidden**2 + 2 * sequence**2 * hidden
        rows = hidden**2 + 2 * hidden * width
        count = len(self.layers)
        return count * attention + ((count - 1) * sequence + 1) * rows

    def weights(self, shape: Shape) -> float:
        """Numbers that are stored."""
        hidden, width = shape.hidden, shape.width * (1 - self.narrowed)
        return dict(shape.tokens)[self.min_count] * hidden + len(self.layers) * (4 * hidden**2 + 2 * hidden * width)


@dataclass(frozen=True, slots=True)
class Point:
    """A structure with what was measured of it."""

    structure: Structure
    size_ratio: float
    speedup: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Two lines: a share of the baseline's bytes over weights, a share of its time over work."""

    size: tuple[float, float]
    time: tuple[float, float]
    shape: Shape

    def size_ratio(self, structure: Structure) -> float:
        """How many times smaller, expected."""
        return 1 / max(1e-6, self.size[0] + self.size[1] * structure.weights(self.shape))

    def speedup(self, structure: Structure) -> float:
        """How many times faster, expected."""
        return 1 / max(1e-6, self.time[0] + self.time[1] * structure.work(self.shape))


def learn(points: Sequence[Point], shape: Shape) -> Costs:
    """The lines through at least two points."""
    weights = [point.structure.weights(shape) for point in points]
    work = [point.structure.work(shape) for point in points]
    return Costs(
        _line(weights, [1 / point.size_ratio for point in points]),
        _line(work, [1 / point.speedup for point in points]),
        shape,
    )


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    design = np.stack([np.ones(len(x)), np.asarray(x) / max(x)], axis=1)
    # Relative errors: a structure of a tenth of the time matters as much as the whole one.
    scale = 1 / np.asarray(y)
    (start, slope), *_ = np.linalg.lstsq(design * scale[:, None], np.ones(len(y)), rcond=None)
    return float(start), float(slope / max(x))


def depths(depth: int) -> list[int]:
    """How many layers may stay: all, and fewer down to one; of a deep model not every number."""
    counts = {depth, max(1, round(depth * 0.75)), max(1, depth // 2), max(1, depth // 3), 1}
    return sorted(counts | {count for count in (1, 2, 3) if count <= depth}, reverse=True)


def spread(depth: int, count: int) -> tuple[int, ...]:
    """`count` layers of a model: the first, the last, and evenly between."""
    if count == 1:
        return (0,)
    return tuple(round(index * (depth - 1) / (count - 1)) for index in range(count))


def structures(shape: Shape, min_count: int) -> list[Structure]:
    """The structures that are looked at first, those that do the most work first."""
    found = [
        Structure(spread(shape.depth, count), narrowed, min_count)
        for count in depths(shape.depth)
        for narrowed in (0.0, 0.5, 0.75)
    ]
    return sorted(found, key=lambda structure: -structure.work(shape))


def probes(shape: Shape, min_count: int) -> list[Structure]:
    """Few structures far apart: the lines are laid through them, and the smallest is the bound of what is possible."""
    return [
        Structure(spread(shape.depth, 1), 0.75, min_count),
        Structure(spread(shape.depth, max(1, shape.depth // 2)), 0.5, min_count),
        Structure(spread(shape.depth, shape.depth), 0.0, min_count),
    ]
