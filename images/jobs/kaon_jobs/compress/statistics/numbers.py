"""What a candidate loses against the baseline on the same rows of numbers: how much its errors rise, how sure. Pure.

Both models predicted the same rows, so each row has two errors, and their means are uncertain together: as in the
Bayesian bootstrap (Rubin, Annals of Statistics 1981), each draw weighs the rows anew, by Dirichlet(1, …, 1), for both
models alike. That alone would be certain of what never occurred in few rows. So limits.py's rule holds here too: for an
upper limit one more row is counted on which the candidate loses (for a lower one, on which it wins) as much as on the
worst row seen, and no less than a model that always says the mean errs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.compressionjob import Budget, Interval
from kaon.tasks.metrics import MAE, RMSE
from kaon_jobs.compress.statistics.decisions import Decision, Finding, together
from kaon_jobs.compress.statistics.fields import drop_field
from kaon_jobs.compress.statistics.more_rows import more_rows_of_mean
from kaon_jobs.compress.statistics.quality import CONFIDENCE, ClassChange

Numbers = NDArray[np.float64]

DRAWS, FEWEST_DRAWS = 8000, 1000
MOST_WEIGHTS = 400_000_000
"""Drawn in all, in some seconds: of more rows there are fewer draws."""
_CHUNK = 4_000_000
"""Weights held at once."""
_LAST_BIT = 1e-9


@dataclass(frozen=True, slots=True)
class _Mean:
    """A metric as a function of the mean of what each row's error counts."""

    counts: Callable[[Numbers], Numbers]
    of_mean: Callable[[Numbers], Numbers]

    def rise(self, before: Numbers, after: Numbers) -> Numbers:
        """Of the metric, from the two models' means."""
        return np.asarray(self.of_mean(after) - self.of_mean(before), dtype=np.float64)


_METRICS: Mapping[str, _Mean] = {RMSE.name: _Mean(np.square, np.sqrt), MAE.name: _Mean(np.abs, lambda mean: mean)}


@dataclass(frozen=True, slots=True, eq=False)
class Rises:
    """What the true rise of a metric may be, one value a draw."""

    measured: float
    likely: Numbers
    """As the rows say; draw by draw, the same weights of rows for each metric."""
    feared: Numbers
    """Ascending; with one more row lost."""
    hoped: Numbers
    """Ascending; with one more row won."""

    def certainty(self, bound: float) -> float:
        """That the true rise is at most `bound`."""
        return float(np.searchsorted(self.feared, _up_to(bound), side="right")) / len(self.feared)

    def certainty_of_more(self, bound: float) -> float:
        """That the true rise is larger than `bound`."""
        return 1 - float(np.searchsorted(self.hoped, _up_to(bound), side="right")) / len(self.hoped)

    def upper_limit(self, confidence: float) -> float:
        """The smallest drawn bound that the true rise keeps with this certainty."""
        return float(np.quantile(self.feared, confidence, method="higher"))

    def lower_limit(self, confidence: float) -> float:
        """The largest drawn bound that the true rise exceeds with this certainty."""
        return float(np.quantile(self.hoped, 1 - confidence, method="lower"))


@dataclass(frozen=True)
class NumberQuality:
    """See Quality. Of anything whose metrics follow from means over rows: numbers, and ranked items (rankings.py)."""

    rows: int
    drops: Mapping[str, Interval]
    confidence: float
    rises: Mapping[str, Rises]
    """Metric -> what its true rise may be."""
    classes: tuple[ClassChange, ...] = ()
    worst_class: ClassChange | None = None
    unmeasured: tuple[str, ...] = ()
    flip_rate: float | None = None

    def decide(self, budget: Budget, seed: int) -> list[Decision]:
        """See Quality."""
        bounds = budget.max_drop or {}
        return [
            self._decision(name, rises, bounds[name], budget.confidence)
            for name, rises in self.rises.items()
            if name in bounds
        ]

    def finding(self, budget: Budget, seed: int) -> Finding:
        """See Quality."""
        if not self._asked(budget):
            return Finding.UNDECIDED
        return together([item.finding for item in self.decide(budget, seed)])

    def chance(self, budget: Budget, seed: int) -> float:
        """See Quality."""
        if not self._asked(budget):
            return 0.0
        kept = [self.rises[name].likely <= _up_to(bound) for name, bound in (budget.max_drop or {}).items()]
        return float(np.logical_and.reduce(kept).mean())

    def chance_of_passing(self, budget: Budget, test: NDArray[Any], seed: int) -> float:
        """See Quality.

        Draws what the true rise may be and, around it, what so many other rows would measure; their limit lies as far
        above that as this split's, by the root of the numbers of rows.
        """
        if not self._asked(budget) or not len(test):
            return 0.0
        narrower = (self.rows / len(test)) ** 0.5
        passed = []
        for name, bound in (budget.max_drop or {}).items():
            rises = self.rises[name]
            order = np.random.default_rng(seed).permutation(len(rises.likely))
            measured = rises.likely + narrower * (rises.likely[order] - rises.measured)
            doubt = 0.0
            if budget.on_inconclusive == "Reject":
                doubt = narrower * (rises.upper_limit(budget.confidence) - rises.measured)
            passed.append(measured + doubt <= _up_to(bound))
        return float(np.logical_and.reduce(passed).mean())

    def _asked(self, budget: Budget) -> bool:
        """Whether every budget of quality that is set can be asked of numbers."""
        bounds = budget.max_drop or {}
        return bool(bounds) and bounds.keys() <= self.rises.keys() and budget.max_class_recall_drop is None

    def _decision(self, name: str, rises: Rises, bound: float, confidence: float) -> Decision:
        drop, certainty = self.drops[name], rises.certainty(bound)
        shown, wanted = Finding.UNDECIDED, None
        if certainty >= confidence:
            shown = Finding.KEPT
        elif rises.certainty_of_more(bound) >= confidence:
            shown = Finding.BROKEN
        else:
            limit = rises.upper_limit(confidence) if drop.value <= bound else rises.lower_limit(confidence)
            wanted = more_rows_of_mean(self.rows, abs(limit - drop.value), abs(bound - drop.value))
        return Decision(
            drop_field(name), bound, shown, certainty, drop.value, drop.low, drop.high,
            rows=self.rows, more_rows_of_all=wanted,
        )  # fmt: skip


def compare_numbers(
    truth: NDArray[Any], baseline: NDArray[Any], candidate: NDArray[Any], seed: int, confidence: float = CONFIDENCE
) -> NumberQuality:
    """The figures of `candidate` against `baseline`: numbers, row by row, at least one, all finite."""
    true, before, after = (np.asarray(values, dtype=np.float64) for values in (truth, baseline, candidate))
    rises = _rises(true - true.mean(), before - true, after - true, seed)
    return quality_of_rises(len(true), rises, confidence)


def quality_of_rises(rows: int, rises: dict[str, Rises], confidence: float) -> NumberQuality:
    """The figures that follow from how much each metric rises or falls over so many rows."""
    return NumberQuality(
        rows=rows,
        drops={
            name: Interval(
                value=found.measured,
                # Few draws, or a drop far from the rest, may not reach the drop as measured.
                low=min(found.measured, found.lower_limit(confidence)),
                high=max(found.measured, found.upper_limit(confidence)),
            )
            for name, found in rises.items()
        },
        confidence=confidence,
        rises=rises,
    )


def _rises(deviations: Numbers, before: Numbers, after: Numbers, seed: int) -> dict[str, Rises]:
    """Of each metric. `deviations` are the errors of a model that always says the mean."""
    # The sums are taken of numbers near 1, whatever the unit: they are added in float32.
    unit = max(float(np.abs(values).max()) for values in (deviations, before, after)) or 1.0
    counted = {
        name: [metric.counts(errors / unit) for errors in (before, after, deviations)]
        for name, metric in _METRICS.items()
    }
    # Differences by themselves: of nearly equal models they are much smaller than what they are the difference of.
    columns = [part for old, new, _ in counted.values() for part in (old, new - old)]
    sums, total, extra = weighted(np.column_stack(columns), seed)
    more = total + extra
    found = {}
    for place, (name, metric) in enumerate(_METRICS.items()):
        old, new, plain = counted[name]
        base = sums[:, 2 * place]
        moved = np.maximum(base + sums[:, 2 * place + 1], 0.0)
        most_lost, most_won = (max(float((sign * (new - old)).max()), float(plain.mean())) for sign in (1, -1))
        found[name] = Rises(
            measured=unit * float(metric.rise(old.mean(), new.mean())),
            likely=unit * metric.rise(base / total, moved / total),
            feared=unit * np.sort(metric.rise(base / more, (moved + extra * most_lost) / more)),
            hoped=unit * np.sort(metric.rise((base + extra * most_won) / more, moved / more)),
        )
    return found


def weighted(columns: Numbers, seed: int) -> tuple[Numbers, Numbers, Numbers]:
    """Random weights of rows: the weighted sums [draws, columns], the weights' sums, and one more row's weight."""
    rows = len(columns)
    draws = min(DRAWS, max(FEWEST_DRAWS, MOST_WEIGHTS // rows))
    random = np.random.default_rng(seed)
    extra = random.standard_exponential(draws)
    given = np.column_stack([columns, np.ones(rows)]).astype(np.float32)
    size = max(1, _CHUNK // rows)
    found = [
        (random.standard_exponential((min(size, draws - start), rows), dtype=np.float32) @ given).astype(np.float64)
        for start in range(0, draws, size)
    ]
    sums = np.concatenate(found)
    return sums[:, :-1], sums[:, -1], extra


def _up_to(bound: float) -> float:
    return bound + _LAST_BIT * max(1.0, bound)
