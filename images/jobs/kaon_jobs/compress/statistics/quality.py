"""What a candidate loses against the baseline on the same rows, and what follows: the words, whatever is predicted.

Two files make it: classes.py of predicted classes, numbers.py of predicted numbers. comparing.py chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from kaon.api.compressionjob import Budget, Interval
from kaon_jobs.compress.statistics import limits
from kaon_jobs.compress.statistics.decisions import Decision, Finding

CONFIDENCE = 0.95


class Quality(Protocol):
    """Quality lost on one split. Negative drops are gains; of a metric of which lower is better a drop is a rise.

    `low` and `high` of a drop are one-sided limits, each at `confidence`: with 95 %, at most one model in twenty has a
    true drop above `high`.
    """

    @property
    def rows(self) -> int:
        """Rows of the split, at least one."""
        ...

    @property
    def confidence(self) -> float:
        """Of each limit in the intervals, one-sided."""
        ...

    @property
    def drops(self) -> Mapping[str, Interval]:
        """Metric -> what is lost of it; each metric that the task compares by."""
        ...

    @property
    def classes(self) -> Sequence[ClassChange]:
        """What became of each class; empty where numbers are predicted."""
        ...

    @property
    def worst_class(self) -> ClassChange | None:
        """The class that lost the most recall; None when no class has rows, or there are none."""
        ...

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Classes without a single row in this split."""
        ...

    @property
    def flip_rate(self) -> float | None:
        """Share of the rows whose predicted class changed; None where numbers are predicted."""
        ...

    def decide(self, budget: Budget, seed: int) -> list[Decision]:
        """Whether the rows show each budget of quality kept, broken, or neither: a decision for each that is set.

        A budget that this cannot be asked of has no decision, and is never kept for it: bounds.py misses its figure.
        """
        ...

    def finding(self, budget: Budget, seed: int) -> Finding:
        """`decide` in short, for all budgets together, from few draws: to choose by."""
        ...

    def chance(self, budget: Budget, seed: int) -> float:
        """How likely, 0 to 1, every budget of quality is kept at once, to choose by: not a verdict."""
        ...

    def chance_of_passing(self, budget: Budget, test: NDArray[Any], seed: int) -> float:
        """How likely, 0 to 1, the verdict on a test split is that the budgets of quality are kept.

        Args:
            test: the true targets of the test rows, of which only the number (of each class) is used.
        """
        ...


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
        return limits.of_rate(self.lost, self.won, self.support, confidence) if self.support else None
