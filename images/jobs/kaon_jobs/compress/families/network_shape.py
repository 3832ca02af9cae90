"""Structures of a convolutional or plain network: the share of each layer's channels that goes. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaon.api.compressionjob import Prune, Step
from kaon_jobs.compress.search.moves import DYNAMIC, STATIC
from kaon_jobs.compress.search.shape import BATCH, Choices

NARROWED = (0.25, 0.375, 0.5, 0.625, 0.75, 0.8125, 0.875, 0.90625, 0.9375, 0.953125, 0.96875)
_FIRST_NARROWED = (0.25, 0.5, 0.75, 0.875, 0.9375, 0.96875)
_RUNG_STEPS = (400, 1200)
"""Steps of training that each rung of halving adds."""
_STEPS = (1200, 2400, 4800)
_LONGEST = 1000
"""Bound of Distill.epochs."""


@dataclass(frozen=True, slots=True)
class NetworkStructure:
    """The share of each layer's channels that goes."""

    narrowed: float


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Of the trained network: what a structure costs. See Shape."""

    rows: int
    """Training rows."""
    costs: tuple[tuple[float, float, float], ...]
    """(share that goes, multiplications of one prediction, numbers that are stored), for 0 and NARROWED."""

    @property
    def whole(self) -> NetworkStructure:
        """All channels."""
        return NetworkStructure(0.0)

    @property
    def smallest(self) -> NetworkStructure:
        """See Shape."""
        return NetworkStructure(NARROWED[-1])

    @property
    def smallest_in_words(self) -> str:
        """See Shape."""
        return f"{1 - NARROWED[-1]:.0%} of the channels"

    @property
    def probes(self) -> list[NetworkStructure]:
        """See Shape."""
        return [NetworkStructure(0.9375), NetworkStructure(0.75), NetworkStructure(0.25)]

    @property
    def first(self) -> list[NetworkStructure]:
        """See Shape."""
        return [NetworkStructure(narrowed) for narrowed in _FIRST_NARROWED]

    @property
    def rarer(self) -> list[NetworkStructure]:
        """There is nothing else to take away."""
        return self.first

    @property
    def choices(self) -> Choices:
        """See Shape."""
        return {"narrowed": NARROWED}

    @property
    def rungs(self) -> tuple[int, ...]:
        """See Shape."""
        return tuple(self._epochs(steps) for steps in _RUNG_STEPS)

    @property
    def epochs(self) -> tuple[int, ...]:
        """See Shape."""
        return tuple(self._epochs(steps) for steps in _STEPS)

    @property
    def rates(self) -> tuple[float, ...]:
        """See Shape."""
        return (3e-4, 5e-4, 1e-3, 2e-3, 4e-3)

    def steps(self, structure: NetworkStructure) -> tuple[Step, ...]:
        """See Shape."""
        return (Step(prune=Prune(method="channels", ratio=structure.narrowed)),) if structure.narrowed else ()

    def work(self, structure: NetworkStructure) -> float:
        """Multiplications of one prediction."""
        return next(work for narrowed, work, _ in self.costs if narrowed == structure.narrowed)

    def weights(self, structure: NetworkStructure) -> float:
        """Numbers that are stored."""
        return next(weights for narrowed, _, weights in self.costs if narrowed == structure.narrowed)

    def structure_of(self, steps: Sequence[Step]) -> NetworkStructure:
        """See Shape."""
        pruned = [step.prune.ratio or 0.0 for step in steps if step.prune is not None]
        return NetworkStructure(pruned[-1] if pruned else 0.0)

    def parameters(self, structure: NetworkStructure) -> dict[str, Any]:
        """See Shape."""
        return {"narrowed": structure.narrowed}

    def structure(self, parameters: Mapping[str, Any]) -> NetworkStructure:
        """See Shape."""
        return NetworkStructure(parameters["narrowed"])

    def tails(self, fusible: bool, objective: str) -> list[tuple[Step, ...]]:
        """INT8 or not: eight bits cost a small network more time than they save."""
        return [(STATIC,), (DYNAMIC,), ()]

    def _epochs(self, steps: int) -> int:
        return min(_LONGEST, math.ceil(steps / math.ceil(self.rows / BATCH)))
