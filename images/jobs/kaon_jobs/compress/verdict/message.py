"""The verdict in a sentence or two, as it stands in a condition and on top of the report. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kaon.api.compressionjob import Budget
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.statistics.decisions import Decision
from kaon_jobs.compress.verdict.bounds import Violation, would_keep
from kaon_jobs.compress.verdict.conclusion import Conclusion
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.naming import four_decimals, size_in_words, three_digits
from kaon_jobs.compress.verdict.selection import Contender

MAX_LENGTH = 2048


def accepted(name: str, measured: Measured, confidence: float) -> str:
    """Every budget is shown to hold."""
    return (
        f"{name} keeps every budget on the test split, those of quality with {percent(confidence)} confidence: "
        f"{figures(measured)}."
    )[:MAX_LENGTH]


def rejected(name: str, measured: Measured, violations: Sequence[Violation], chosen_on: str) -> str:
    """It was chosen, and the test split says no."""
    return (
        f"{name}, {chosen_on}, breaks its budget on the test split: {_sentences(violations)}. "
        f"It has {figures(measured)}.{_feasible(violations)}"
    )[:MAX_LENGTH]


def inconclusive(name: str, measured: Measured, found: Conclusion, budget: Budget, chosen_on: str) -> str:
    """It was chosen, and the test split has too few rows to say yes or no."""
    told = "; ".join(undecided(item, budget.confidence) for item in found.undecided[:3])
    others = f" (and {len(found.undecided) - 3} more)" if len(found.undecided) > 3 else ""
    if budget.on_inconclusive == "Reject":
        policy = "onInconclusive: Reject refuses it"
    elif found.usable:
        policy = "The drops as measured keep the budget, and onInconclusive: Accept lets it pass"
    else:
        policy = f"onInconclusive: Accept refuses it too, for as measured {_sentences(found.violations)}"
    return (
        f"{name}, {chosen_on}, is inconclusive on the test split: {told}{others}. {policy}. It has {figures(measured)}."
        f"{_acceptable(found)}"
    )[:MAX_LENGTH]


def undecided(item: Decision, confidence: float) -> str:
    """What the rows leave open of one budget, and how many more would decide."""
    if item.drop is None or item.high is None or item.low is None:
        shown = f"{item.what} cannot be told, it has no test row"
    elif item.drop <= item.bound:
        shown = f"{item.what} {item.drop:.3g} is shown to be below {item.high:.3g}, not below {item.bound:g}"
    else:
        shown = f"{item.what} {item.drop:.3g} is shown to be above {item.low:.3g}, not above {item.bound:g}"
    of = "" if item.label is None else f" of {item.label!r} (it has {item.rows})"
    if item.more_rows is not None:
        need = f"about {item.more_rows:,} more test row{'s' if item.more_rows != 1 else ''}{of} would decide"
    else:
        most = f"{item.label!r} ({item.rows} rows) leaves most of the doubt, and " if item.label is not None else ""
        number = "no number of rows near would decide"
        if item.more_rows_of_all is not None:
            of_all = "" if item.label is None else " of all classes"
            number = f"about {item.more_rows_of_all:,} more test rows{of_all} would decide"
        need = most + number
    return f"with {percent(confidence)} confidence {shown} ({item.field}): {need}"


def impossible(size_bytes: int, failures: Sequence[str]) -> str:
    """No technique could make a candidate. `failures` say why, each with the candidate's name."""
    causes = "; ".join(dict.fromkeys(failures)) or "there is nothing to take away"
    return (
        f"Nothing smaller or faster can be made of this model, which has {size_in_words(size_bytes)}: {causes}. "
        "Deploy the TrainingRun's model as it is"
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
        f"The size budget cannot be met: it asks for a model {three_digits(demanded_ratio)} times smaller, and with "
        f"at least eight bits a weight it is at most {three_digits(possible)} times smaller"
    )


def figures(measured: Measured) -> str:
    """The figures that people ask for first."""
    parts = [f"{size_in_words(measured.size_bytes)} ({measured.size_ratio:.2f} times smaller)"]
    if measured.speedup is not None:
        interval = measured.speedup
        parts.append(f"{interval.value:.2f} times faster (95 % interval {interval.low:.2f} to {interval.high:.2f})")
    if measured.quality is not None:
        quality = measured.quality
        parts += [f"{METRICS[name].loss_title} {four_decimals(drop.value)}" for name, drop in quality.drops.items()]
        if quality.worst_class is not None and quality.worst_class.drop is not None:
            parts.append(f"largest recall drop {quality.worst_class.drop:.4f} ({quality.worst_class.label})")
    return ", ".join(parts)


def percent(share: float) -> str:
    """0.95 as `95 %`."""
    return f"{100 * share:.3g} %"


def _acceptable(found: Conclusion) -> str:
    """What would have been accepted on these rows: wider bounds, or less confidence."""
    highest: dict[str, float] = {}
    for item in found.undecided:
        if item.high is None:
            return ""
        highest[item.field] = max(item.high, highest.get(item.field, -1.0))
    offers = ", ".join(would_keep(field, high) for field, high in highest.items())
    lowest = math.floor(100 * min(item.certainty for item in found.undecided)) / 100
    or_less = f", or with confidence {lowest:g}" if lowest >= 0.5 else ""
    return f" These rows would show {offers}{or_less}."


def _sentences(violations: Sequence[Violation]) -> str:
    return "; ".join(violation.sentence for violation in violations)


def _feasible(violations: Sequence[Violation]) -> str:
    offers = [violation.feasible for violation in violations if violation.feasible]
    return f" It would keep {', '.join(offers)}." if offers else ""
