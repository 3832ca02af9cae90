"""Structures of a model: what they cost, and which of them a budget allows. Pure.

Size and speed of a structure do not depend on its weights. So a few are built and timed untrained, two straight lines
are laid through what was measured, and of all others only those that can keep the budget are ever trained. What a
structure is depends on the model: encoder_shape.py, network_shape.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kaon.api.compressionjob import Step

Choices = Mapping[str, Sequence[Any]]
"""What may be varied, and its values."""
BATCH = 32
"""Rows of a step of training, where nothing else is said."""


class Structure(Hashable, Protocol):
    """A part of a trained model."""


class Shape(Protocol):
    """A trained model, as far as parts of it are concerned."""

    @property
    def whole(self) -> Any:
        """The structure that is all of it."""

    @property
    def smallest(self) -> Any:
        """The structure of which nothing more can go: the bound of what is possible."""

    @property
    def smallest_in_words(self) -> str:
        """What that is."""

    @property
    def probes(self) -> Sequence[Any]:
        """Few structures far apart; the second one is of middling size."""

    @property
    def first(self) -> Sequence[Any]:
        """The structures that are looked at first, those that do the most work first."""

    @property
    def rarer(self) -> Sequence[Any]:
        """The same, of which as much goes as may: for budgets that those looked at first cannot keep."""

    @property
    def choices(self) -> Choices:
        """What makes up a structure, for a search around good ones."""

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs that each rung of halving adds."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of a student that is trained at once."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates of such a student, the middle one the usual."""

    def steps(self, structure: Any) -> tuple[Step, ...]:
        """How a structure is made, without training."""

    def work(self, structure: Any) -> float:
        """Multiplications of one prediction."""

    def weights(self, structure: Any) -> float:
        """Numbers that are stored."""

    def structure_of(self, steps: Sequence[Step]) -> Any:
        """What `steps` make, steps of other kinds among them."""

    def parameters(self, structure: Any) -> dict[str, Any]:
        """Its values of `choices`."""

    def structure(self, parameters: Mapping[str, Any]) -> Any:
        """The structure with these values."""

    def tails(self, fusible: bool, objective: str) -> Sequence[tuple[Step, ...]]:
        """What may follow the training. `fusible`: whether the model was of a kind that fusion knows."""


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
        return 1 / max(1e-6, self.size[0] + self.size[1] * self.shape.weights(structure))

    def speedup(self, structure: Structure) -> float:
        """How many times faster, expected."""
        return 1 / max(1e-6, self.time[0] + self.time[1] * self.shape.work(structure))


def learn(points: Sequence[Point], shape: Shape) -> Costs:
    """The lines through at least two points."""
    weights = [shape.weights(point.structure) for point in points]
    work = [shape.work(point.structure) for point in points]
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
