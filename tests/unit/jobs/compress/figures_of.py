"""Makes figures for tables: a candidate that is 4 times smaller, 2 times faster and loses nothing, unless said."""

from __future__ import annotations

from typing import Any

import numpy as np

from kaon.api.compressionjob import Budget, Interval
from kaon.api.evaluation import Latency
from kaon_jobs.compress.statistics.classes import ClassQuality, compare_classes
from kaon_jobs.compress.verdict.figures import Measured

LABELS = ["big", "small"]


def quality(lost_big: int = 0, lost_small: int = 0, big: int = 996, small: int = 4, won_big: int = 0) -> ClassQuality:
    """Rows of two classes of which the candidate gets some wrong; `won_big` are rows that only it gets right."""
    truth = np.array([0] * big + [1] * small)
    baseline, candidate = truth.copy(), truth.copy()
    candidate[:lost_big] = 1
    candidate[big : big + lost_small] = 0
    baseline[big - won_big : big] = 1
    return compare_classes(truth, baseline, candidate, LABELS, seed=0)


def measured(
    found: ClassQuality | None = None,
    speed: tuple[float, float, float] | None = (2.0, 1.9, 2.1),
    baseline_ms: float = 10.0,
    **changes: Any,
) -> Measured:
    """Figures of a candidate."""
    # Not validated: what a broken timing might say must be refused by the verdict too.
    interval = Interval.model_construct(value=speed[0], low=speed[1], high=speed[2]) if speed else None
    times = speed[0] if speed and speed[0] > 0 else 2.0
    values: dict[str, Any] = {
        "size_bytes": 25,
        "size_ratio": 4.0,
        "quality": found or quality(),
        "latency": Latency(p50=baseline_ms / times, p99=1.8 * baseline_ms / times),
        "baseline_latency": Latency(p50=baseline_ms, p99=1.8 * baseline_ms),
        "speedup": interval,
        "peak_memory_bytes": 100,
    }
    return Measured(**{**values, **changes})


def budget_of(bounds: dict[str, Any]) -> Budget:
    """A budget of these bounds; where none is on quality, one more that every finite figure keeps."""
    on_quality = {"maxDrop", "maxClassRecallDrop"} & bounds.keys()
    return Budget.model_validate(bounds if on_quality else {"maxDrop": {"accuracy": 1}, **bounds})
