"""distill: training on the original model's answers. See distillation.py and networks.py."""

from __future__ import annotations

from kaon.api.compressionjob import Distill
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique

TAKES: tuple[Kind, ...] = ("encoder", "network")


def technique(parameters: Distill, kind: Kind) -> Technique:
    """See TechniqueModule."""
    # Each brings torch, and an encoder's brings transformers.
    if kind == "network":
        from kaon_jobs.compress.techniques.networks import NetworkDistillation

        return NetworkDistillation(parameters)
    from kaon_jobs.compress.techniques.distillation import Distillation

    return Distillation(parameters)
