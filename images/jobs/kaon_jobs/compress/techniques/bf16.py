"""bf16: weights in half the bytes, eight bits of each value and the whole range of float32. See half.py."""

from __future__ import annotations

from kaon.api.compressionjob import Quantize
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.techniques.half import HalfStorage

TAKES: tuple[Kind, ...] = ("encoder", "text", "network", "ranker")


def technique(parameters: Quantize, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return HalfStorage(parameters)
