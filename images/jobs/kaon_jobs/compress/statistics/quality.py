"""What a candidate loses against the baseline on the same rows: drops, flips, and how sure we are. Pure.

All inputs are arrays of class indices, row by row. `low` and `high` of a drop are one-sided limits, each at the
confidence asked for: with 95 %, at most one model in twenty has a true drop above `high`. limits.py says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kaon.api.compressionjob import Interval
from kaon.tasks.metrics import ACCURACY, MACRO_F1
from kaon_jobs.compress.statistics import limits
from kaon_jobs.compress.statistics.pairs import Classes, Pairs, pairs_of

__all__ = ["CONFIDENCE", "ClassChange", "Classes", "Quality", "compare"]

Floats = NDArray[np.float32]
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One class: its rows, and how many of them only the baseline (lost) or only the candidate (won) gets right."""

    label: str
    support: int
    baseline_hits: int
    lost: int
    won: int

    @property
    def baseline_recall(self) -> float | None:
        """None for a class without rows."""
        return self.baseline_hits / self.support if self.support else None

    @property
    def recall(self) -> float | None:
        """Of the candidate; None for a class without rows."""
        return (self.baseline_hits - self.lost + self.won) / self.support if self.support else None

    @property
    def drop(self) -> float | None:
        """Recall lost, negative when won; None for a class without rows."""
        return (self.lost - self.won) / self.support if self.support else None

    def drop_interval(self, confidence: float) -> Interval | None:
        """The drop with its limits; None for a class without rows."""
        return _interval(self.lost, self.won, self.support, confidence) if self.support else None


@dataclass(frozen=True)
class Quality:
    """Quality lost on one split. Negative drops are gains."""

    rows: int
    drops: Mapping[str, Interval]
    """Metric -> what is lost of it."""
    classes: tuple[ClassChange, ...]
    flip_rate: float
    confidence: float
    """Of each limit in the intervals, one-sided."""
    pairs: Pairs = field(compare=False, repr=False)
    macro_f1_drops: limits.MacroF1Drops = field(compare=False, repr=False)

    @cached_property
    def lost(self) -> int:
        """Rows that only the baseline gets right."""
        return sum(item.lost for item in self.classes)

    @cached_property
    def won(self) -> int:
        """Rows that only the candidate gets right."""
        return sum(item.won for item in self.classes)

    @property
    def worst_class(self) -> ClassChange | None:
        """The class that lost the most recall; None when no class has rows."""
        measured = [item for item in self.classes if item.support]
        return max(measured, key=lambda item: item.drop or 0.0, default=None)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Classes without a single row in this split."""
        return tuple(item.label for item in self.classes if not item.support)


def compare(
    truth: Classes,
    baseline: Classes,
    candidate: Classes,
    labels: list[str],
    seed: int,
    confidence: float = CONFIDENCE,
) -> Quality:
    """The figures of `candidate` against `baseline`. There is at least one row."""
    pairs = pairs_of(truth, baseline, candidate, labels)
    drops = limits.macro_f1_drops(pairs, seed)
    lost, won = pairs.of_classes(pairs.weights * pairs.lost), pairs.of_classes(pairs.weights * pairs.won)
    hits = pairs.of_classes(pairs.weights * (pairs.baseline == pairs.truth))
    return Quality(
        rows=len(truth),
        drops={
            ACCURACY.name: _interval(float(lost.sum()), float(won.sum()), len(truth), confidence),
            MACRO_F1.name: Interval(
                value=float(pairs.macro_f1_drop(pairs.weights)),
                low=drops.lower_limit(confidence),
                high=drops.upper_limit(confidence),
            ),
        },
        classes=tuple(
            ClassChange(label, int(pairs.support[i]), int(hits[i]), int(lost[i]), int(won[i]))
            for i, label in enumerate(labels)
        ),
        flip_rate=float(np.mean(baseline != candidate)),
        confidence=confidence,
        pairs=pairs,
        macro_f1_drops=drops,
    )


def _interval(lost: float, won: float, rows: float, confidence: float) -> Interval:
    return Interval(
        value=(lost - won) / rows,
        low=limits.lower_limit(lost, won, rows, confidence),
        high=limits.upper_limit(lost, won, rows, confidence),
    )


def divergence(reference: Floats, moved: Floats) -> float:
    """Mean Kullback-Leibler divergence of the rows of `moved` from those of `reference`, in nats."""
    floor = 1e-7
    p, q = np.clip(reference, floor, 1.0), np.clip(moved, floor, 1.0)
    return float(np.mean(np.sum(p * np.log(p / q), axis=1)))
