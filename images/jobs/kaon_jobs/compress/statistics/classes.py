"""What a candidate loses against the baseline on the same rows of classes: drops, flips, and how sure we are. Pure.

All inputs are arrays of class indices, row by row. limits.py says how the limits of a drop are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.compressionjob import Budget, Interval
from kaon.tasks.metrics import ACCURACY, MACRO_F1
from kaon_jobs.compress.statistics import limits
from kaon_jobs.compress.statistics.decisions import Decision, Finding, finding, finding_of_rate, to_break_of
from kaon_jobs.compress.statistics.fields import RECALL, drop_field
from kaon_jobs.compress.statistics.likelihood import SHOWN_DRAWS, chance, chance_of_passing
from kaon_jobs.compress.statistics.more_rows import Wanted, more_rows_of_macro_f1, more_rows_of_rate
from kaon_jobs.compress.statistics.pairs import Classes, Pairs, pairs_of
from kaon_jobs.compress.statistics.quality import CONFIDENCE, ClassChange


@dataclass(frozen=True)
class ClassQuality:
    """See Quality."""

    rows: int
    drops: Mapping[str, Interval]
    classes: tuple[ClassChange, ...]
    flip_rate: float
    confidence: float
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

    def decide(self, budget: Budget, seed: int) -> list[Decision]:
        """See Quality. For the recall of classes one decision a class."""
        found: list[Decision] = []
        bounds = budget.max_drop or {}
        if ACCURACY.name in bounds:
            found.append(self._accuracy(bounds[ACCURACY.name], budget.confidence))
        if MACRO_F1.name in bounds:
            found.append(self._macro_f1(bounds[MACRO_F1.name], budget.confidence, seed))
        if budget.max_class_recall_drop is not None:
            found.extend(self._recalls(budget.max_class_recall_drop, budget.confidence))
        return found

    def finding(self, budget: Budget, seed: int) -> Finding:
        """See Quality."""
        return finding(budget, self.pairs, seed, SHOWN_DRAWS)

    def chance(self, budget: Budget, seed: int) -> float:
        """See Quality."""
        return chance(budget, self.pairs, seed)

    def chance_of_passing(self, budget: Budget, test: NDArray[Any], seed: int) -> float:
        """See Quality."""
        support = np.bincount(test, minlength=len(self.pairs.labels)).astype(np.float64)
        return chance_of_passing(budget, self.pairs, support, seed)

    def _accuracy(self, bound: float, confidence: float) -> Decision:
        drop, rate = self.drops[ACCURACY.name], (self.lost, self.won, self.rows)
        shown = finding_of_rate(*rate, bound, confidence, confidence)
        wanted = more_rows_of_rate(*rate, bound, confidence) if shown is Finding.UNDECIDED else None
        return Decision(
            drop_field(ACCURACY.name), bound, shown, limits.certainty(*rate, bound), drop.value, drop.low, drop.high,
            rows=self.rows, more_rows_of_all=wanted,
        )  # fmt: skip

    def _macro_f1(self, bound: float, confidence: float, seed: int) -> Decision:
        drop, drops = self.drops[MACRO_F1.name], self.macro_f1_drops
        # Of a class without a row nothing is known, and it counts as much as any other.
        certainty = 0.0 if self.unmeasured else drops.certainty(bound)
        more = 0.0 if self.unmeasured else drops.certainty_of_more(bound)
        shown = Finding.KEPT if certainty >= confidence else Finding.BROKEN if more >= confidence else Finding.UNDECIDED
        wanted = Wanted(None, self.rows)
        if shown is Finding.UNDECIDED:
            wanted = more_rows_of_macro_f1(self.pairs, bound, confidence, seed)
        return Decision(
            drop_field(MACRO_F1.name), bound, shown, certainty, drop.value, drop.low, drop.high,
            wanted.label, wanted.rows, wanted.more_rows, wanted.more_rows_of_all,
        )  # fmt: skip

    def _recalls(self, bound: float, confidence: float) -> Iterator[Decision]:
        to_break = to_break_of(confidence, len(self.classes))
        for item in self.classes:
            rate = (item.lost, item.won, item.support)
            shown = finding_of_rate(*rate, bound, confidence, to_break)
            wanted = more_rows_of_rate(*rate, bound, confidence) if shown is Finding.UNDECIDED else None
            interval = item.drop_interval(confidence)
            yield Decision(
                RECALL, bound, shown, limits.certainty(*rate, bound), item.drop,
                interval.low if interval else None, interval.high if interval else None,
                item.label, item.support, wanted,
            )  # fmt: skip


def compare_classes(
    truth: Classes,
    baseline: Classes,
    candidate: Classes,
    labels: list[str],
    seed: int,
    confidence: float = CONFIDENCE,
) -> ClassQuality:
    """The figures of `candidate` against `baseline`. There is at least one row."""
    pairs = pairs_of(truth, baseline, candidate, labels)
    drops = limits.macro_f1_drops(pairs, seed)
    lost, won = pairs.of_classes(pairs.weights * pairs.lost), pairs.of_classes(pairs.weights * pairs.won)
    hits = pairs.of_classes(pairs.weights * (pairs.baseline == pairs.truth))
    return ClassQuality(
        rows=len(truth),
        drops={
            ACCURACY.name: limits.of_rate(float(lost.sum()), float(won.sum()), len(truth), confidence),
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
