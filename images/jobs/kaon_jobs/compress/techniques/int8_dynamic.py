"""INT8, dynamic: weights and embeddings stored in eight bits, activations quantized as they come. Needs no data."""

from __future__ import annotations

from pathlib import Path

from kaon.api.compressionjob import Quantize
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.techniques.ort import left_alone, quantize_nodes_dynamically
from kaon_jobs.compress.training.calibration import Calibration

TAKES: tuple[Kind, ...] = ("encoder", "text", "network", "ranker")


def technique(parameters: Quantize, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return Int8Dynamic(parameters)


class Int8Dynamic:
    """Matrix products, fused attention and embeddings."""

    def __init__(self, parameters: Quantize) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """See Technique."""
        model = graph.load(source)
        nodes = graph.weight_nodes(model)
        skipped = left_alone(nodes, self._parameters.exclude)
        chosen = [node.name for node in nodes if node.name not in skipped]
        quantize_nodes_dynamically(model, target, chosen, self._parameters.per_channel is not False)
