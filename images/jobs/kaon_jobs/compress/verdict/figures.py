"""The figures of a candidate, and the three ways to look at them: as a judge, as measured, and with hope. Pure.

The verdict looks strictly: the lower end of the speed-up. Selection times in few rounds, so it looks twice: at the
figures as measured, and with the friendly end of what they may be. Of quality all three hold the drops as measured; how
sure these are is the matter of decisions.py (to judge by) and of likelihood.py (to choose by).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaon.api.compressionjob import Interval
from kaon.api.evaluation import Latency
from kaon_jobs.compress.statistics.quality import ClassChange, Quality

LATENCY_DOUBT = 1.25
"""An absolute time measured in a few rounds on a shared machine may be off by this factor."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured of a candidate on one split. What was not measured is None."""

    size_bytes: int
    size_ratio: float
    quality: Quality | None = None
    latency: Latency | None = None
    baseline_latency: Latency | None = None
    speedup: Interval | None = None
    peak_memory_bytes: int | None = None
    unanswered: int = 0
    """Rows for which the candidate gave no finite answer: then it has no quality."""
    divergence: float | None = None
    """How far the answers moved from the baseline's (comparing.py): it tells two candidates apart when there are
    too few rows for a class to flip."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the budget is held against: one number a budget, None when there is none."""

    size_bytes: float | None
    size_ratio: float | None
    drops: Mapping[str, float] = field(default_factory=dict)
    """Metric -> what is lost of it; empty when quality was not measured."""
    class_recall_drop: float | None = None
    worst_class: ClassChange | None = None
    unmeasured: tuple[str, ...] = ()
    """Classes whose recall cannot be known, because the split has no row of them."""
    speedup: float | None = None
    speedup_interval: Interval | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    peak_memory_bytes: float | None = None
    unanswered: int = 0


def strict(measured: Measured) -> Figures:
    """As the verdict sees it."""
    return _figures(measured, measured.speedup.low if measured.speedup else None)


def as_measured(measured: Measured) -> Figures:
    """As selection sees it."""
    return _figures(measured, measured.speedup.value if measured.speedup else None)


def hopeful(measured: Measured) -> Figures:
    """As fast as it may be."""
    return _figures(measured, measured.speedup.high if measured.speedup else None, LATENCY_DOUBT)


def _figures(measured: Measured, speedup: float | None, doubt: float = 1.0) -> Figures:
    quality, latency = measured.quality, measured.latency
    worst = quality.worst_class if quality else None
    return Figures(
        size_bytes=measured.size_bytes,
        size_ratio=measured.size_ratio,
        drops={name: drop.value for name, drop in quality.drops.items()} if quality else {},
        class_recall_drop=worst.drop if worst else None,
        worst_class=worst,
        unmeasured=quality.unmeasured if quality else (),
        speedup=speedup,
        speedup_interval=measured.speedup,
        p50_ms=latency.p50 / doubt if latency else None,
        p99_ms=latency.p99 / doubt if latency else None,
        peak_memory_bytes=measured.peak_memory_bytes,
        unanswered=measured.unanswered,
    )
