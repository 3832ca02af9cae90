"""Which candidate goes to the test split, and which was nearest when none may. Pure.

A candidate's standing on the validation split: it *keeps* its budget (its bounds on size and speed as measured, and
those on quality more likely than not), it is *doubtful* (it may still keep it), or it *breaks* it. Few rows are no hard
gate: likelihood.py says how likely a candidate is to keep its budgets of quality. The test split is looked at once, for
one candidate. So of those that keep their budget, and whose slower or larger kin do not speak against it, the best by
the objective is sent that is likely enough to pass there; when none is, the one that is likeliest. Of several that are
about as good by the objective the one that answers most like the baseline is sent, or, where rows show that the budget
is kept, the one with the better other figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter

import numpy as np
from scipy.optimize import isotonic_regression

from kaon.api.compressionjob import Budget
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.statistics.decisions import Finding
from kaon_jobs.compress.statistics.fields import of_quality
from kaon_jobs.compress.verdict.bounds import Violation, violations
from kaon_jobs.compress.verdict.figures import Figures, Measured, as_measured, hopeful, strict

MORE_LIKELY_THAN_NOT = 0.5
STILL_POSSIBLE = 0.05
LIKELY_TO_PASS = 0.9
"""The chance of passing on the test split at which the objective decides: a failed look costs the whole search."""
BELIEVED = 0.8
"""The evened chance below which a candidate's own rows are taken for luck."""
SAME_SIZE, SAME_SPEED, SAME_MS = 1.01, 1.25, 0.02
"""What is larger or slower than the best by no more than this factor, or slower by these milliseconds, counts as good:
who deploys it hardly notices, and trials that were timed at different moments do not compare more closely. A choice by
less would be another one each time."""


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
    chance: float = 0.0
    """That the true drops keep every budget of quality, 0 to 1, as far as this split tells."""
    shown: bool = False
    """Whether this split shows it by the rule of the verdict: with the budget's confidence, and nothing assumed."""

    @property
    def excess(self) -> float:
        """How far it is from the budget: the broken budgets' relative excesses, added up."""
        return sum(violation.excess for violation in self.violations)


Passing = Callable[[Contender], float]
"""The chance, 0 to 1, that a candidate passes on the test split."""


def contender(name: str, measured: Measured, budget: Budget, objective: str, seed: int = 0) -> Contender:
    """Holds a candidate's validation figures against the budget."""
    likely = measured.quality.chance(budget, seed) if measured.quality is not None else 0.0

    def keeps(figures: Figures) -> bool:
        found = violations(budget, objective, figures)
        return not any(measured.quality is None or not of_quality(item.field) for item in found)

    if likely >= MORE_LIKELY_THAN_NOT and keeps(as_measured(measured)):
        standing = Standing.KEEPS
    elif likely >= STILL_POSSIBLE and keeps(hopeful(measured)):
        standing = Standing.DOUBTFUL
    else:
        standing = Standing.BREAKS
    # A class without a validation row is the test split's matter.
    at_their_word = replace(strict(measured), unmeasured=())
    shown = measured.quality is not None and measured.quality.finding(budget, seed) is Finding.KEPT
    return Contender(name, measured, standing, tuple(violations(budget, objective, at_their_word)), likely, shown)


def choose(
    contenders: Sequence[Contender], objective: str, passing: Passing = attrgetter("chance")
) -> Contender | None:
    """The one to judge on the test split, or None when none may keep the budget."""
    keeping = [item for item in contenders if item.standing is Standing.KEEPS]
    doubtful = [item for item in contenders if item.standing is Standing.DOUBTFUL]
    evened = _evened(contenders, objective)
    believed = [item for item in keeping if evened[item.name] >= BELIEVED]
    candidates = left = believed or keeping or doubtful
    passes: dict[str, float] = {}
    # The best first, so that those behind need not be asked: each question is a hundred test splits.
    while left:
        tied = _as_good(left, objective)
        passes |= {item.name: passing(item) for item in tied}
        likely = [item for item in tied if passes[item.name] >= LIKELY_TO_PASS]
        if likely:
            # Where rows show that the budget is kept, the other figure decides.
            shown = [item for item in likely if item.shown]
            return _most_alike(_as_good(shown, "latency" if objective == "size" else "size") if shown else likely)
        left = [item for item in left if item.name not in passes]
    highest = max(passes.values(), default=0.0)
    # Chances are drawn: one that is within a few draws of the highest is not shown to be less likely.
    likeliest = [item for item in candidates if passes[item.name] >= highest - 0.05]
    return _most_alike(_as_good(likeliest, objective)) if likeliest else None


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


def _evened(contenders: Sequence[Contender], objective: str) -> dict[str, float]:
    """The chances by name, averaged wherever a better one by the objective would be the likelier to keep its quality.

    A faster or smaller model has less to keep its quality with. Where a search says otherwise, a few rows say it: each
    chance is right on average, but not that of the one that is picked for it. So neighbours share theirs, by isotonic
    regression (Barlow et al. 1972). What breaks its budgets of quality has no say: its training or its quantization may
    have failed.
    """
    asked = sorted(
        (item for item in contenders if item.chance >= STILL_POSSIBLE), key=lambda item: _worth(item, objective)
    )
    if not asked:
        return {}
    averages = isotonic_regression(np.array([item.chance for item in asked]), increasing=False).x
    return {item.name: float(average) for item, average in zip(asked, averages, strict=True)}


def _worth(item: Contender, objective: str) -> tuple[float, str]:
    """By what the objective ranks, the worst first."""
    return (-float(item.measured.size_bytes) if objective == "size" else _speed(item)), item.name


def _as_good(candidates: Sequence[Contender], objective: str) -> list[Contender]:
    """The best by the objective, and those that are about as good."""
    best = max(candidates, key=lambda item: _worth(item, objective))
    if objective == "size":
        return [item for item in candidates if item.measured.size_bytes <= SAME_SIZE * best.measured.size_bytes]
    return [item for item in candidates if is_as_fast(_speed(item), _speed(best), _p50(item), _p50(best))]


def _most_alike(candidates: Sequence[Contender]) -> Contender:
    """The one that answers most like the baseline; of as similar ones the one that lost least.

    Every row tells how much alike two models answer. Who lost least is told by the few rows that changed sides, and the
    best of many trials by those owes its place to luck: on other rows it is no better than the rest.
    """
    return min(candidates, key=lambda item: (_apart(item), _loss(item), item.measured.size_bytes, item.name))


def is_as_fast(speedup: float, fastest: float, ms: float | None, least_ms: float | None) -> bool:
    """Whether a speed-up counts as good as the fastest: by SAME_SPEED, or by SAME_MS where both times are known."""
    return SAME_SPEED * speedup >= fastest or (ms is not None and least_ms is not None and ms <= least_ms + SAME_MS)


def _p50(item: Contender) -> float | None:
    return item.measured.latency.p50 if item.measured.latency else None


def _speed(item: Contender) -> float:
    return item.measured.speedup.value if item.measured.speedup else -math.inf


def _apart(item: Contender) -> float:
    return math.inf if item.measured.divergence is None else item.measured.divergence


def _loss(item: Contender) -> float:
    quality = item.measured.quality
    if quality is None:
        return math.inf
    return sum(max(0.0, drop.value) / METRICS[name].scale for name, drop in quality.drops.items())
