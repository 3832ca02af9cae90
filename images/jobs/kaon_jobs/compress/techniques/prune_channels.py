"""prune with method: channels, for convolutional and plain networks. See networks.py."""

from __future__ import annotations

from kaon.api.compressionjob import Prune
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique

TAKES: tuple[Kind, ...] = ("network",)


def technique(parameters: Prune, kind: Kind) -> Technique:
    """See TechniqueModule."""
    from kaon_jobs.compress.techniques.networks import ChannelPruning

    return ChannelPruning(parameters)
