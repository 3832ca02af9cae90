"""The figures of a candidate, and the three ways to look at them: as a judge, as a selector, and with hope. Pure.

The verdict looks strictly: point estimates of quality on the test split, the lower end of the speed-up. Selection
happens on a validation split whose smallest class may have four rows, where one row is 0.25 of a recall. So it looks
twice: `but_one_row` puts the one most harmful row back before it compares (a split cannot resolve less than a row), and
`hopeful` takes the friendly end of the 95 % intervals. A candidate that fails even hopefully is out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kaon.api.compressionjob import Interval
from kaon.api.evaluation import Latency
from kaon_jobs.compress.quality import ClassChange, Quality

Z95 = 1.96
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


@dataclass(frozen=True, slots=True)
class Figures:
    """What the budget is held against: one number a budget, None when there is none."""

    size_bytes: float | None
    size_ratio: float | None
    accuracy_drop: float | None = None
    macro_f1_drop: float | None = None
    class_recall_drop: float | None = None
    worst_class: ClassChange | None = None
    unmeasured: tuple[str, ...] = ()
    """Classes whose recall cannot be known, because the split has no row of them."""
    speedup: float | None = None
    speedup_interval: Interval | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    peak_memory_bytes: float | None = None


def strict(measured: Measured) -> Figures:
    """As the verdict sees it."""
    quality = measured.quality
    worst = quality.worst_class if quality else None
    return _figures(
        measured,
        accuracy=quality.accuracy_drop.value if quality else None,
        macro_f1=quality.macro_f1_drop.value if quality else None,
        recall=worst.drop if worst else None,
        unmeasured=quality.unmeasured if quality else (),
        speedup=measured.speedup.low if measured.speedup else None,
    )


def but_one_row(measured: Measured) -> Figures:
    """As selection sees it: the most harmful row put back, the speed-up as measured."""
    quality = measured.quality
    return _figures(
        measured,
        accuracy=quality.accuracy_drop.value - min(1, _lost(quality)) / quality.rows if quality else None,
        macro_f1=quality.macro_f1_drop_but_one if quality else None,
        recall=_worst([(item.lost - min(1, item.lost) - item.won) / item.support for item in _known(quality)]),
        speedup=measured.speedup.value if measured.speedup else None,
    )


def hopeful(measured: Measured) -> Figures:
    """As good as the 95 % intervals allow."""
    quality = measured.quality
    return _figures(
        measured,
        accuracy=quality.accuracy_drop.low if quality else None,
        macro_f1=min(quality.macro_f1_drop.low, quality.macro_f1_drop_but_one) if quality else None,
        recall=_worst(
            [
                (item.lost - item.won - max(Z95 * math.sqrt(item.lost + item.won), min(1, item.lost))) / item.support
                for item in _known(quality)
            ]
        ),
        speedup=measured.speedup.high if measured.speedup else None,
        doubt=LATENCY_DOUBT,
    )


def _figures(
    measured: Measured,
    *,
    accuracy: float | None,
    macro_f1: float | None,
    recall: float | None,
    speedup: float | None,
    unmeasured: tuple[str, ...] = (),
    doubt: float = 1.0,
) -> Figures:
    quality, latency = measured.quality, measured.latency
    return Figures(
        size_bytes=measured.size_bytes,
        size_ratio=measured.size_ratio,
        accuracy_drop=accuracy,
        macro_f1_drop=macro_f1,
        class_recall_drop=recall,
        worst_class=quality.worst_class if quality else None,
        unmeasured=unmeasured,
        speedup=speedup,
        speedup_interval=measured.speedup,
        p50_ms=latency.p50 / doubt if latency else None,
        p99_ms=latency.p99 / doubt if latency else None,
        peak_memory_bytes=measured.peak_memory_bytes,
    )


def _known(quality: Quality | None) -> list[ClassChange]:
    return [item for item in quality.classes if item.support] if quality else []


def _lost(quality: Quality) -> int:
    return sum(item.lost for item in quality.classes)


def _worst(drops: list[float]) -> float | None:
    return max(drops, default=None)
