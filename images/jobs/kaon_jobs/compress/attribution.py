"""What each step of the chosen pipeline bought and cost: from the figures of its prefixes. Pure.

Times are the baseline's divided by each prefix's speed-up, since both took turns: the machine's mood is in neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from kaon.api.compressionjob import Step
from kaon_jobs.compress.evidence import StepEvidence
from kaon_jobs.compress.figures import Measured
from kaon_jobs.compress.techniques import step_name


def attribution(
    steps: list[Step], prefixes: Mapping[int, Measured], baseline_bytes: int, baseline_ms: float | None
) -> list[StepEvidence]:
    """One entry a measured prefix, in their order.

    Args:
        prefixes: figures on the validation split after the first 1, 2, … steps; what could not be measured is absent,
            and its step stands together with the next.
        baseline_ms: p50 of the baseline.
    """
    found: list[StepEvidence] = []
    start, size, time = 0, baseline_bytes, baseline_ms
    accuracy, macro_f1 = 0.0, 0.0
    for length in sorted(prefixes):
        measured = prefixes[length]
        group = steps[start:length]
        now = None
        if baseline_ms is not None and measured.speedup is not None:
            now = baseline_ms / measured.speedup.value
        quality = measured.quality
        found.append(
            StepEvidence(
                name="+".join(step_name(step) for step in group),
                steps=group,
                size_bytes=measured.size_bytes,
                saved_bytes=size - measured.size_bytes,
                p50_ms=None if now is None else round(now, 3),
                saved_ms=None if now is None or time is None else round(time - now, 3),
                accuracy_cost=None if quality is None else round(quality.accuracy_drop.value - accuracy, 6),
                macro_f1_cost=None if quality is None else round(quality.macro_f1_drop.value - macro_f1, 6),
            )
        )
        start, size, time = length, measured.size_bytes, now
        if quality is not None:
            accuracy, macro_f1 = quality.accuracy_drop.value, quality.macro_f1_drop.value
    return found
