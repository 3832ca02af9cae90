"""What each step of the chosen pipeline bought and cost: from the figures of its prefixes. Pure.

Times are the baseline's divided by each prefix's speed-up, since both took turns: the machine's mood is in neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from kaon.api.compressionjob import Step
from kaon_jobs.compress.evidence.document import StepEvidence
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.naming import step_name


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
    before: dict[str, float] = {}
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
                lost={}
                if quality is None
                else {name: float(f"{drop.value - before.get(name, 0.0):.6g}") for name, drop in quality.drops.items()},
            )
        )
        start, size, time = length, measured.size_bytes, now
        if quality is not None:
            before = {name: drop.value for name, drop in quality.drops.items()}
    return found
