"""Do these figures, taken at their word, keep the budget? Each bound is one small check, and needs its figure. Pure.

How sure the drops of quality are is not asked here: decisions.py does, and conclusion.py puts both together.
Fail-closed: a figure that is missing or not finite breaks its budget. Two budgets are implied, because a candidate
that misses its objective is no success: with `objective: latency` and no minSpeedup, the lower end of the speed-up's
interval must reach 1 (say minSpeedup to allow less); with `objective: size` and no size budget, it must be smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from kaon.api.compressionjob import Budget
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.statistics.fields import RECALL, drop_field
from kaon_jobs.compress.verdict.figures import Figures
from kaon_jobs.compress.verdict.naming import three_digits

SENTENCE_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Violation:
    """A budget that is broken: its field, a sentence, by how much (relative), and what could be kept instead."""

    field: str
    sentence: str
    excess: float
    feasible: str | None = None


Check = Callable[[Budget, str, Figures], Violation | None]


def violations(budget: Budget, objective: str, figures: Figures) -> list[Violation]:
    """Every budget that these figures break: answers, quality, then CHECKS."""
    found = [_answers(budget, objective, figures), *_drops(budget, figures)]
    found += [check(budget, objective, figures) for check in CHECKS]
    return [violation for violation in found if violation is not None]


def _drops(budget: Budget, figures: Figures) -> list[Violation | None]:
    bounds = budget.max_drop or {}
    # In the tasks' order, whatever order the user wrote them in.
    return [
        _at_most(drop_field(name), metric.loss_title, figures.drops.get(name), bounds[name], slack=0.01 * metric.scale)
        for name, metric in METRICS.items()
        if name in bounds
    ]


def _class_recall(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    limit = budget.max_class_recall_drop
    if limit is None:
        return None
    if figures.unmeasured:
        names = ", ".join(repr(name) for name in figures.unmeasured[:5])
        return _missing(RECALL, f"recall of {names} (the split has no such row)")
    worst = figures.worst_class
    what = "recall drop" + (f" of {worst.label!r} ({worst.support} rows)" if worst else "")
    return _at_most(RECALL, what, figures.class_recall_drop, limit, slack=0.01)


def _size(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    return _at_most("maxSizeBytes", "size", figures.size_bytes, budget.max_size_bytes, unit="bytes")


def _size_ratio(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    implied = objective == "size" and budget.min_size_ratio is None and budget.max_size_bytes is None
    if implied and figures.size_ratio is not None and figures.size_ratio <= 1:
        return Violation(
            "objective", f"not smaller than the baseline: size ratio {three_digits(figures.size_ratio)}", 1.0
        )
    return _at_least("minSizeRatio", "size ratio", figures.size_ratio, budget.min_size_ratio)


def _speedup(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    interval = figures.speedup_interval
    shown = f" ({interval.value:.2f}, 95 % interval {interval.low:.2f} to {interval.high:.2f})" if interval else ""
    if budget.min_speedup is not None:
        return _at_least("minSpeedup", f"speed-up{shown}", figures.speedup, budget.min_speedup)
    if objective != "latency":
        return None
    if figures.speedup is None or not math.isfinite(figures.speedup):
        return _missing("objective", "speed-up")
    if figures.speedup >= 1:
        return None
    slower = interval is not None and interval.high < 1
    sentence = "slower than the baseline" if slower else "not shown to be faster than the baseline"
    return Violation("objective", f"{sentence}: speed-up{shown}", 1 - figures.speedup)


def _p50(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    limit = budget.max_latency_ms
    return _at_most("maxLatencyMs.p50", "p50 latency", figures.p50_ms, limit.p50 if limit else None, unit="ms")


def _p99(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    limit = budget.max_latency_ms
    return _at_most("maxLatencyMs.p99", "p99 latency", figures.p99_ms, limit.p99 if limit else None, unit="ms")


def _memory(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    return _at_most(
        "maxPeakMemoryBytes", "peak memory", figures.peak_memory_bytes, budget.max_peak_memory_bytes, unit="bytes"
    )


def _answers(budget: Budget, objective: str, figures: Figures) -> Violation | None:
    if not figures.unanswered:
        return None
    rows = f"{figures.unanswered} row{'s' if figures.unanswered != 1 else ''}"
    return Violation("budget", f"for {rows} it gives answers that are no numbers", math.inf)


CHECKS: tuple[Check, ...] = (
    _class_recall, _size, _size_ratio, _speedup, _p50, _p99, _memory,
)  # fmt: skip


def would_keep(field: str, value: float) -> str:
    """The bound that `value` keeps, as an offer."""
    return f"{field} {_up(value)}"


def _at_most(
    field: str, what: str, figure: float | None, limit: float | None, *, unit: str = "", slack: float = 0.0
) -> Violation | None:
    if limit is None:
        return None
    if figure is None or not math.isfinite(figure):
        return _missing(field, what)
    # A drop of 5/100 against a budget of 0.05 is a question of rows, not of the last bit of a float.
    if figure <= limit + 1e-9:
        return None
    sentence = f"{what} {_number(figure, unit)} exceeds {_number(limit, unit)}"
    return Violation(field, sentence[:SENTENCE_LENGTH], (figure - limit) / max(limit, slack), would_keep(field, figure))


def _at_least(field: str, what: str, figure: float | None, limit: float | None) -> Violation | None:
    if limit is None:
        return None
    if figure is None or not math.isfinite(figure):
        return _missing(field, what)
    if figure >= limit - 1e-9:
        return None
    sentence = f"{what} {three_digits(figure)} is below {limit:g}"
    return Violation(field, sentence[:SENTENCE_LENGTH], limit / max(figure, 1e-9) - 1, f"{field} {_down(figure)}")


def _missing(field: str, what: str) -> Violation:
    return Violation(field, f"{what} was not measured, so {field} is not kept"[:SENTENCE_LENGTH], math.inf)


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.2f} MB" if value >= 100_000 else f"{value / 1e3:.2f} kB"
    return f"{three_digits(value)} {unit}".rstrip()


def _up(value: float) -> str:
    """A limit that `value` keeps, short enough to read: rounded up."""
    if value >= 1000:
        return str(math.ceil(value))
    if 0 < value < 0.001:
        # To two digits, whatever the unit.
        step = 10.0 ** (math.floor(math.log10(value)) - 1)
        return f"{math.ceil(value / step - 1e-6) * step:.2g}"
    return f"{math.ceil(value * 1000 - 1e-6) / 1000:g}"


def _down(value: float) -> str:
    return f"{math.floor(value * 100) / 100:g}"
