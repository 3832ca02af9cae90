"""prune, with the methods for encoders: layers, ffn, heads and magnitude. See pruning.py."""

from __future__ import annotations

from kaon.api.compressionjob import Prune
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique

TAKES: tuple[Kind, ...] = ("encoder",)


def technique(parameters: Prune, kind: Kind) -> Technique:
    """See TechniqueModule."""
    from kaon_jobs.compress.techniques.pruning import Pruning

    return Pruning(parameters)
