"""The gate on quality: does the data show that a budget is kept, that it is broken, or neither? Pure.

For each budget of quality two questions are asked of the paired answers, each at the budget's confidence: is the true
drop at most the bound, and is it more? Neither is an answer too: there are too few rows, and it is said of which class,
and about how many more would decide. docs/decisions/0011 says what this means.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from kaon.api.compressionjob import Budget
from kaon.tasks.metrics import ACCURACY, MACRO_F1
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.statistics import limits
from kaon_jobs.compress.statistics.fields import metric_of
from kaon_jobs.compress.statistics.pairs import Pairs


class Finding(StrEnum):
    """What the rows show of a budget."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """One budget of quality, held against the rows; for the recall of classes one of these a class."""

    field: str
    bound: float
    finding: Finding
    certainty: float
    """That the budget is kept, 0 to 1; at least the confidence when it is."""
    drop: float | None
    low: float | None
    """The true drop is above this, at the confidence; None when there is no row to tell."""
    high: float | None
    label: str | None = None
    """Recall: the class. Macro-F1, undecided: the class that leaves the most doubt."""
    rows: int = 0
    """Rows there are of that class, or in all."""
    more_rows: int | None = None
    """Undecided: about how many more of them would decide; None when they alone would not."""
    more_rows_of_all: int | None = None
    """Undecided, and one class is not enough: about how many more rows of all classes would decide."""

    @property
    def what(self) -> str:
        """The figure in words."""
        metric = metric_of(self.field)
        return f"recall drop of {self.label!r}" if metric is None else METRICS[metric].loss_title


def finding(budget: Budget, pairs: Pairs, seed: int, draws: int) -> Finding:
    """What rows of classes show of all budgets of quality together: `decide` in short, for many splits."""
    lost, won = pairs.of_classes(pairs.weights * pairs.lost), pairs.of_classes(pairs.weights * pairs.won)
    asked, found, bounds = budget.confidence, [], budget.max_drop or {}
    if ACCURACY.name in bounds:
        rate = (float(lost.sum()), float(won.sum()), pairs.rows)
        found.append(finding_of_rate(*rate, bounds[ACCURACY.name], asked, asked))
    if budget.max_class_recall_drop is not None:
        to_break = to_break_of(asked, len(pairs.labels))
        found += [
            finding_of_rate(*rate, budget.max_class_recall_drop, asked, to_break)
            for rate in zip(lost.tolist(), won.tolist(), pairs.support.tolist(), strict=True)
        ]
    bound = bounds.get(MACRO_F1.name)
    if bound is not None and Finding.BROKEN not in found:
        if not pairs.support.all():
            found.append(Finding.UNDECIDED)
        elif limits.macro_f1_certainty(pairs, pairs.weights, bound, seed, draws) >= asked:
            found.append(Finding.KEPT)
        else:
            more = limits.macro_f1_certainty_of_more(pairs, pairs.weights, bound, seed, draws)
            found.append(Finding.BROKEN if more >= asked else Finding.UNDECIDED)
    return together(found)


def together(findings: Collection[Finding]) -> Finding:
    """Of all budgets at once: kept when each is, broken when one is."""
    if Finding.BROKEN in findings:
        return Finding.BROKEN
    return Finding.UNDECIDED if Finding.UNDECIDED in findings else Finding.KEPT


def to_break_of(confidence: float, classes: int) -> float:
    """The certainty at which one of many classes is taken to break its bound.

    That every class keeps it needs no correction for their number, since each alone must be shown. That some class
    breaks it does: of many classes one looks broken by chance (Bonferroni).
    """
    return 1 - (1 - confidence) / max(1, classes)


def finding_of_rate(lost: float, won: float, rows: float, bound: float, to_keep: float, to_break: float) -> Finding:
    """Of a share of rows lost: kept at the certainty `to_keep`, broken at `to_break`."""
    if limits.certainty(lost, won, rows, bound) >= to_keep:
        return Finding.KEPT
    return Finding.BROKEN if limits.certainty_of_more(lost, won, rows, bound) >= to_break else Finding.UNDECIDED
