"""finetune: training on the labels once more. See distillation.py and networks.py."""

from __future__ import annotations

from kaon.api.compressionjob import Finetune
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique

TAKES: tuple[Kind, ...] = ("encoder", "network")


def technique(parameters: Finetune, kind: Kind) -> Technique:
    """See TechniqueModule."""
    # Each brings torch, and an encoder's brings transformers.
    if kind == "network":
        from kaon_jobs.compress.techniques.networks import NetworkFinetuning

        return NetworkFinetuning(parameters)
    from kaon_jobs.compress.techniques.distillation import Finetuning

    return Finetuning(parameters)
