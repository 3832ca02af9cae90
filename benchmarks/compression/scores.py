"""Quality, budget and speed-up as the benchmark counts them: the same for every contender. Pure; numpy alone.

On purpose no line of it is Kaon's own: the judge does not borrow from a contender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

BLOCK_ROUNDS = 10
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be lost, as differences: 0.01 is one point."""

    accuracy_drop: float
    macro_f1_drop: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Of predicted classes, on one split."""

    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class Speedup:
    """Baseline p50 / candidate p50, with its 95 % interval."""

    value: float
    low: float
    high: float


def quality(true: Ids, predicted: Ids, classes: int) -> Quality:
    """Accuracy, and the unweighted mean of F1 over all classes; a class that neither has nor gets rows counts 0."""
    rows = np.bincount(true, minlength=classes)
    guesses = np.bincount(predicted, minlength=classes)
    hits = np.bincount(true[true == predicted], minlength=classes)
    f1 = 2 * hits / np.maximum(rows + guesses, 1)
    return Quality(accuracy=float((true == predicted).mean()), macro_f1=float(f1.mean()))


def kept(budget: Budget, baseline: Quality, found: Quality) -> bool:
    """Whether both drops lie inside the budget, as point estimates."""
    return spent(budget, baseline, found) <= 1.0


def spent(budget: Budget, baseline: Quality, found: Quality) -> float:
    """The larger share of the two budgets that is used up; above 1 the budget is broken, below 0 nothing was lost."""
    # A drop that equals the budget keeps it; without rounding 0.97 - 0.96 is a little more than 0.01.
    shares = (
        (baseline.accuracy - found.accuracy) / budget.accuracy_drop,
        (baseline.macro_f1 - found.macro_f1) / budget.macro_f1_drop,
    )
    return round(max(shares), 9)


def speedup(baseline_ms: Sequence[float], candidate_ms: Sequence[float], seed: int = 0) -> Speedup:
    """How much faster the candidate is; both were timed in turns: round n of one belongs to round n of the other.

    The interval is a bootstrap over blocks of consecutive rounds (Künsch, "The jackknife and the bootstrap for general
    stationary observations", 1989), because neighbouring rounds share the machine's mood.

    Raises:
        ValueError: the two have different numbers of rounds, or fewer than three blocks.
    """
    old, new = np.asarray(baseline_ms, dtype=np.float64), np.asarray(candidate_ms, dtype=np.float64)
    blocks = len(old) // BLOCK_ROUNDS
    if len(old) != len(new) or blocks < 3:
        raise ValueError(f"{len(old)} and {len(new)} rounds: at least {3 * BLOCK_ROUNDS} of each are needed")
    drawn = np.random.default_rng(seed).integers(blocks, size=(RESAMPLES, blocks))
    ratios = _medians(old, drawn) / _medians(new, drawn)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Speedup(float(np.median(old) / np.median(new)), float(low), float(high))


def _medians(times: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    shaped = times[: drawn.shape[1] * BLOCK_ROUNDS].reshape(-1, BLOCK_ROUNDS)
    return np.asarray(np.median(shaped[drawn].reshape(len(drawn), -1), axis=1), dtype=np.float64)
