"""The verdict in a sentence or two, as it stands in a condition and on top of the report. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from kaon_jobs.compress.figures import Measured
from kaon_jobs.compress.selection import Contender
from kaon_jobs.compress.verdict import Violation

MAX_LENGTH = 2048


def accepted(name: str, measured: Measured) -> str:
    """Every budget holds on the test split."""
    return f"{name} keeps every budget on the test split: {figures(measured)}."[:MAX_LENGTH]


def rejected(name: str, measured: Measured, violations: Sequence[Violation], chosen_on: str) -> str:
    """It was chosen, and the test split says no."""
    return (
        f"{name}, {chosen_on}, breaks its budget on the test split: {_sentences(violations)}. "
        f"It has {figures(measured)}.{_feasible(violations)}"
    )[:MAX_LENGTH]


def infeasible(bound: str | None, nearest: Contender, trials: int, ended: str) -> str:
    """No candidate may keep the budget. `bound` says which budget is impossible, and why."""
    tried = f"{trials} trial{'s' if trials != 1 else ''}"
    first = bound or f"No candidate keeps the budget on the validation split after {tried} ({ended})"
    why = f" misses it: {_sentences(nearest.violations)}" if nearest.violations else " was tried"
    offer = _feasible(nearest.violations)
    return f"{first}. The nearest, {nearest.name}, with {figures(nearest.measured)},{why}.{offer}"[:MAX_LENGTH]


def bound_sentence(demanded_ratio: float, baseline_bytes: int, smallest_bytes: int) -> str | None:
    """Why a size budget is impossible, or None when it may be possible."""
    possible = baseline_bytes / smallest_bytes
    if demanded_ratio <= possible:
        return None
    return (
        f"The size budget cannot be met: it asks for a model {demanded_ratio:.3g} times smaller, and with at least "
        f"eight bits a weight it is at most {possible:.3g} times smaller"
    )


def figures(measured: Measured) -> str:
    """The figures that people ask for first."""
    parts = [f"{measured.size_bytes / 1e6:.1f} MB ({measured.size_ratio:.2f} times smaller)"]
    if measured.speedup is not None:
        interval = measured.speedup
        parts.append(f"{interval.value:.2f} times faster (95 % interval {interval.low:.2f} to {interval.high:.2f})")
    if measured.quality is not None:
        quality = measured.quality
        parts.append(f"accuracy drop {quality.accuracy_drop.value:.4f}")
        parts.append(f"macro-F1 drop {quality.macro_f1_drop.value:.4f}")
        if quality.worst_class is not None and quality.worst_class.drop is not None:
            parts.append(f"largest recall drop {quality.worst_class.drop:.4f} ({quality.worst_class.label})")
    return ", ".join(parts)


def _sentences(violations: Sequence[Violation]) -> str:
    return "; ".join(violation.sentence for violation in violations)


def _feasible(violations: Sequence[Violation]) -> str:
    offers = [violation.feasible for violation in violations if violation.feasible]
    return f" It would keep {', '.join(offers)}." if offers else ""
