"""What a candidate loses against the baseline on the same rows: drops, flips, and how sure we are. Pure.

All inputs are arrays of class indices, row by row. Intervals are paired bootstraps: rows are drawn with what both
models said of them, so that what the models share cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaon.api.compressionjob import Interval

Classes = NDArray[np.int64]

RESAMPLES = 1000


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


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality lost on one split. Negative drops are gains."""

    rows: int
    accuracy_drop: Interval
    macro_f1_drop: Interval
    macro_f1_drop_but_one: float
    """The drop in macro-F1 with the one most harmful changed row put back: what the split resolves."""
    classes: tuple[ClassChange, ...]
    flip_rate: float

    @property
    def worst_class(self) -> ClassChange | None:
        """The class that lost the most recall; None when no class has rows."""
        measured = [item for item in self.classes if item.support]
        return max(measured, key=lambda item: item.drop or 0.0, default=None)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Classes without a single row in this split."""
        return tuple(item.label for item in self.classes if not item.support)


def compare(truth: Classes, baseline: Classes, candidate: Classes, labels: list[str], seed: int) -> Quality:
    """The figures of `candidate` against `baseline`, with 95 % intervals. There is at least one row."""
    count = len(labels)
    before, after = _confusion(truth, baseline, count), _confusion(truth, candidate, count)
    accuracy, macro_f1 = _resampled_drops(truth, baseline, candidate, count, seed)
    lost = np.bincount(truth[(baseline == truth) & (candidate != truth)], minlength=count)
    won = np.bincount(truth[(baseline != truth) & (candidate == truth)], minlength=count)
    return Quality(
        rows=len(truth),
        accuracy_drop=_interval(float(lost.sum() - won.sum()) / len(truth), accuracy),
        macro_f1_drop=_interval(_macro_f1(before) - _macro_f1(after), macro_f1),
        macro_f1_drop_but_one=_macro_f1(before) - _best_with_one_put_back(truth, baseline, candidate, after),
        classes=tuple(
            ClassChange(label, int(before[i].sum()), int(before[i, i]), int(lost[i]), int(won[i]))
            for i, label in enumerate(labels)
        ),
        flip_rate=float(np.mean(baseline != candidate)),
    )


def _confusion(truth: Classes, predicted: Classes, count: int) -> NDArray[np.int64]:
    """Row = truth, column = prediction."""
    return np.bincount(truth * count + predicted, minlength=count * count).reshape(count, count)


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    return float(_macro_f1_of(np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)))


def _macro_f1_of(
    hits: NDArray[np.int64], support: NDArray[np.int64], answers: NDArray[np.int64]
) -> NDArray[np.float64]:
    # A class that has neither rows nor answers counts as 0, as in the evaluation.
    both = support + answers
    return np.asarray(np.where(both > 0, 2 * hits / np.maximum(both, 1), 0.0).mean(axis=-1), dtype=np.float64)


def _best_with_one_put_back(
    truth: Classes, baseline: Classes, candidate: Classes, confusion: NDArray[np.int64]
) -> float:
    best = _macro_f1(confusion)
    harmed = (baseline == truth) & (candidate != truth)
    # Rows of one kind (what they are, what they were taken for) have one effect: one of each kind is enough.
    for right, wrong in np.unique(np.stack([truth[harmed], candidate[harmed]]), axis=1).T:
        confusion = confusion.copy()
        confusion[right, wrong] -= 1
        confusion[right, right] += 1
        best = max(best, _macro_f1(confusion))
        confusion[right, wrong] += 1
        confusion[right, right] -= 1
    return best


def _resampled_drops(
    truth: Classes, baseline: Classes, candidate: Classes, count: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Drops of accuracy and of macro-F1, RESAMPLES of each."""
    rows = len(truth)
    # Rows that share (truth, baseline, candidate) are alike: draw how many of each kind instead of rows.
    kinds, sizes = np.unique(np.stack([truth, baseline, candidate]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(rows, sizes / rows, size=RESAMPLES)
    one_hot = np.eye(count, dtype=np.int64)
    support = drawn @ one_hot[kinds[0]]
    accuracies, macro_f1s = [], []
    for answers in (kinds[1], kinds[2]):
        hits = drawn @ (one_hot[kinds[0]] * (kinds[0] == answers)[:, None])
        accuracies.append(hits.sum(axis=1) / rows)
        macro_f1s.append(_macro_f1_of(hits, support, drawn @ one_hot[answers]))
    return accuracies[0] - accuracies[1], macro_f1s[0] - macro_f1s[1]


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))
