"""The gate on quality: does the data show that a budget is kept, that it is broken, or neither? Pure.

For each budget of quality two questions are asked of the paired answers, each at the budget's confidence: is the true
drop at most the bound, and is it more? Neither is an answer too: there are too few rows, and it is said of which class,
and about how many more would decide. docs/decisions/0011 says what this means.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from kaon.api.compressionjob import Budget
from kaon.tasks.metrics import ACCURACY, MACRO_F1
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.statistics import limits
from kaon_jobs.compress.statistics.fields import RECALL, drop_field, metric_of
from kaon_jobs.compress.statistics.more_rows import Wanted, more_rows_of_macro_f1, more_rows_of_rate
from kaon_jobs.compress.statistics.pairs import Pairs
from kaon_jobs.compress.statistics.quality import Quality


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
        return f"recall drop of {self.label!r}" if metric is None else f"{METRICS[metric].title} drop"


def decide(budget: Budget, quality: Quality, seed: int) -> list[Decision]:
    """A decision for each budget of quality that is set."""
    found: list[Decision] = []
    bounds = budget.max_drop or {}
    if ACCURACY.name in bounds:
        found.append(_accuracy(bounds[ACCURACY.name], budget.confidence, quality))
    if MACRO_F1.name in bounds:
        found.append(_macro_f1(bounds[MACRO_F1.name], budget.confidence, quality, seed))
    if budget.max_class_recall_drop is not None:
        found.extend(_recalls(budget.max_class_recall_drop, budget.confidence, quality))
    return found


def finding(budget: Budget, pairs: Pairs, seed: int, draws: int) -> Finding:
    """What rows show of all budgets of quality together: `decide` in short, for many splits."""
    lost, won = pairs.of_classes(pairs.weights * pairs.lost), pairs.of_classes(pairs.weights * pairs.won)
    asked, found, bounds = budget.confidence, [], budget.max_drop or {}
    if ACCURACY.name in bounds:
        rate = (float(lost.sum()), float(won.sum()), pairs.rows)
        found.append(_of_rate(*rate, bounds[ACCURACY.name], asked, asked))
    if budget.max_class_recall_drop is not None:
        to_break = _to_break(asked, len(pairs.labels))
        found += [
            _of_rate(*rate, budget.max_class_recall_drop, asked, to_break)
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
    if Finding.BROKEN in found:
        return Finding.BROKEN
    return Finding.UNDECIDED if Finding.UNDECIDED in found else Finding.KEPT


def _accuracy(bound: float, confidence: float, quality: Quality) -> Decision:
    drop, rate = quality.drops[ACCURACY.name], (quality.lost, quality.won, quality.rows)
    shown = _of_rate(*rate, bound, confidence, confidence)
    wanted = more_rows_of_rate(*rate, bound, confidence) if shown is Finding.UNDECIDED else None
    return Decision(
        drop_field(ACCURACY.name), bound, shown, limits.certainty(*rate, bound), drop.value, drop.low, drop.high,
        rows=quality.rows, more_rows_of_all=wanted,
    )  # fmt: skip


def _macro_f1(bound: float, confidence: float, quality: Quality, seed: int) -> Decision:
    drop, drops = quality.drops[MACRO_F1.name], quality.macro_f1_drops
    # Of a class without a row nothing is known, and it counts as much as any other.
    certainty = 0.0 if quality.unmeasured else drops.certainty(bound)
    more = 0.0 if quality.unmeasured else drops.certainty_of_more(bound)
    shown = Finding.KEPT if certainty >= confidence else Finding.BROKEN if more >= confidence else Finding.UNDECIDED
    wanted = Wanted(None, quality.rows)
    if shown is Finding.UNDECIDED:
        wanted = more_rows_of_macro_f1(quality.pairs, bound, confidence, seed)
    return Decision(
        drop_field(MACRO_F1.name), bound, shown, certainty, drop.value, drop.low, drop.high,
        wanted.label, wanted.rows, wanted.more_rows, wanted.more_rows_of_all,
    )  # fmt: skip


def _recalls(bound: float, confidence: float, quality: Quality) -> Iterator[Decision]:
    to_break = _to_break(confidence, len(quality.classes))
    for item in quality.classes:
        rate = (item.lost, item.won, item.support)
        shown = _of_rate(*rate, bound, confidence, to_break)
        wanted = more_rows_of_rate(*rate, bound, confidence) if shown is Finding.UNDECIDED else None
        interval = item.drop_interval(confidence)
        yield Decision(
            RECALL, bound, shown, limits.certainty(*rate, bound), item.drop,
            interval.low if interval else None, interval.high if interval else None,
            item.label, item.support, wanted,
        )  # fmt: skip


def _to_break(confidence: float, classes: int) -> float:
    """The certainty at which one of many classes is taken to break its bound.

    That every class keeps it needs no correction for their number, since each alone must be shown. That some class
    breaks it does: of many classes one looks broken by chance (Bonferroni).
    """
    return 1 - (1 - confidence) / max(1, classes)


def _of_rate(lost: float, won: float, rows: float, bound: float, to_keep: float, to_break: float) -> Finding:
    if limits.certainty(lost, won, rows, bound) >= to_keep:
        return Finding.KEPT
    return Finding.BROKEN if limits.certainty_of_more(lost, won, rows, bound) >= to_break else Finding.UNDECIDED
