"""The verdict on one candidate, from its figures on the test split. Pure, and fail-closed.

A bound on size, speed or memory is kept or broken as measured. A bound on quality is a matter of evidence: decisions.py
says whether the rows show it kept, show it broken, or leave it open. A figure that is missing is never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kaon.api.compressionjob import Budget
from kaon_jobs.compress.statistics.decisions import Decision, Finding
from kaon_jobs.compress.statistics.fields import of_quality
from kaon_jobs.compress.verdict.bounds import Violation, violations, would_keep
from kaon_jobs.compress.verdict.figures import Measured, strict


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The verdict with what it rests on."""

    verdict: Literal["Accepted", "Rejected", "Inconclusive"]
    usable: bool
    """Whether the model may be used: accepted, or inconclusive and the budget's policy lets it pass."""
    violations: tuple[Violation, ...]
    """Rejected: what is broken. Inconclusive: what would be, were the drops taken as measured."""
    decisions: tuple[Decision, ...]

    @property
    def undecided(self) -> tuple[Decision, ...]:
        """What the rows leave open, the most in doubt first."""
        left = [item for item in self.decisions if item.finding is Finding.UNDECIDED]
        return tuple(sorted(left, key=lambda item: item.certainty))


def conclude(budget: Budget, objective: str, measured: Measured, seed: int) -> Conclusion:
    """Holds a candidate's test figures against the budget."""
    at_their_word = violations(budget, objective, strict(measured))
    decisions = tuple(measured.quality.decide(budget, seed)) if measured.quality is not None else ()
    # A bound on quality that was not decided misses its figure: it is broken at its word.
    decided = {item.field for item in decisions}
    broken = [item for item in at_their_word if item.field not in decided or not of_quality(item.field)]
    broken += [_violation(item, budget.confidence) for item in decisions if item.finding is Finding.BROKEN]
    if broken:
        return Conclusion("Rejected", False, tuple(broken), decisions)
    if all(item.finding is Finding.KEPT for item in decisions):
        return Conclusion("Accepted", True, (), decisions)
    usable = budget.on_inconclusive == "Accept" and not at_their_word
    return Conclusion("Inconclusive", usable, tuple(at_their_word), decisions)


def _violation(item: Decision, confidence: float) -> Violation:
    drop, low, high = (value if value is not None else float("nan") for value in (item.drop, item.low, item.high))
    return Violation(
        item.field,
        f"{item.what} {drop:.3g} exceeds {item.bound:g} (above {low:.3g} with {confidence:.3g} confidence)"[:256],
        (drop - item.bound) / max(item.bound, 0.01),
        would_keep(item.field, high),
    )
