"""Which candidate goes to the test split, and which was nearest when none may. Pure.

A candidate's standing on the validation split: it *keeps* its budget (the one most harmful row forgiven), it is
*doubtful* (its 95 % intervals allow that it does), or it *breaks* it. Those that keep it compete by the objective; a
doubtful one is sent only when none keeps it; the test split then decides, strictly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kaon.api.compressionjob import Budget
from kaon_jobs.compress.figures import Measured, but_one_row, hopeful, strict
from kaon_jobs.compress.verdict import Violation, violations


class Standing(StrEnum):
    """Of a candidate on the validation split."""

    KEEPS = "keeps"
    DOUBTFUL = "doubtful"
    BREAKS = "breaks"


@dataclass(frozen=True, slots=True)
class Contender:
    """A candidate with its standing, and every budget that its figures on this split break when taken at their word."""

    name: str
    measured: Measured
    standing: Standing
    violations: tuple[Violation, ...]

    @property
    def excess(self) -> float:
        """How far it is from the budget: the broken budgets' relative excesses, added up."""
        return sum(violation.excess for violation in self.violations)


def contender(name: str, measured: Measured, budget: Budget, objective: str) -> Contender:
    """Holds a candidate's validation figures against the budget."""
    if not violations(budget, objective, but_one_row(measured)):
        standing = Standing.KEEPS
    elif not violations(budget, objective, hopeful(measured)):
        standing = Standing.DOUBTFUL
    else:
        standing = Standing.BREAKS
    # A class without a validation row is the test split's matter.
    at_their_word = replace(strict(measured), unmeasured=())
    return Contender(name, measured, standing, tuple(violations(budget, objective, at_their_word)))


def choose(contenders: Sequence[Contender], objective: str) -> Contender | None:
    """The one to judge on the test split, or None when none may keep the budget."""
    keeping = [item for item in contenders if item.standing is Standing.KEEPS]
    if keeping:
        return _best(keeping, objective)
    doubtful = [item for item in contenders if item.standing is Standing.DOUBTFUL]
    return min(doubtful, key=lambda item: (item.excess, item.measured.size_bytes, item.name), default=None)


def nearest(contenders: Sequence[Contender]) -> Contender | None:
    """The one that misses the budget by the least."""
    return min(contenders, key=lambda item: (item.excess, item.measured.size_bytes, item.name), default=None)


def pareto(contenders: Sequence[Contender]) -> list[Contender]:
    """Those that no other beats in both size and speed-up, smallest first."""
    ordered = sorted(contenders, key=lambda item: (item.measured.size_bytes, -_speed(item), item.name))
    front: list[Contender] = []
    for item in ordered:
        if not front or _speed(item) > _speed(front[-1]):
            front.append(item)
    return front


def _best(keeping: Sequence[Contender], objective: str) -> Contender:
    if objective == "size":
        smallest = min(item.measured.size_bytes for item in keeping)
        # Within a percent it is the same size to anyone who deploys it; then speed counts.
        tied = [item for item in keeping if item.measured.size_bytes <= 1.01 * smallest]
        return max(tied, key=lambda item: (_speed(item), -item.measured.size_bytes, item.name))
    fastest = max(keeping, key=lambda item: (_speed(item), item.name))
    # Whose interval reaches the fastest's figure is not shown to be slower; among those, the least loss counts.
    tied = [item for item in keeping if item is fastest or _high(item) >= _speed(fastest)]
    return min(tied, key=lambda item: (_loss(item), item.measured.size_bytes, item.name))


def _speed(item: Contender) -> float:
    return item.measured.speedup.value if item.measured.speedup else -math.inf


def _high(item: Contender) -> float:
    return item.measured.speedup.high if item.measured.speedup else -math.inf


def _loss(item: Contender) -> float:
    quality = item.measured.quality
    if quality is None:
        return math.inf
    return max(0.0, quality.accuracy_drop.value) + max(0.0, quality.macro_f1_drop.value)
