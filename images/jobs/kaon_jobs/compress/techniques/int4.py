"""INT4, weights only: embedding tables and matrices in four bits with a scale for each block of weights.

onnxruntime's MatMulNBits and GatherBlockQuantized. Products are computed in INT8 with ranges found as they run, so that
four bits cost precision of the weights alone. A fused attention holds its weights in an operator of its own, which
knows no four bits: it stays as it is, for an int8 step that follows.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)

from kaon.api.compressionjob import Quantize
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.techniques.ort import left_alone, quiet
from kaon_jobs.compress.training.calibration import Calibration
from kaon_jobs.errors import TechniqueFailed

BLOCK = 32
COMPUTE_IN_INT8 = 4
"""onnxruntime's accuracy level: activations in INT8 by blocks, the fastest on a CPU."""

_OPERATORS = {"embeddings": ("Gather",), "products": ("MatMul",), None: ("Gather", "MatMul")}


TAKES: tuple[Kind, ...] = ("encoder", "text", "network")


def technique(parameters: Quantize, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return Int4WeightOnly(parameters)


class Int4WeightOnly:
    """Tables, products, or both."""

    def __init__(self, parameters: Quantize) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """See Technique."""
        model = graph.gemms_apart(graph.load(source))
        operators = _OPERATORS[self._parameters.only]
        nodes = [node for node in graph.weight_nodes(model) if node.op_type in operators]
        skipped = left_alone(nodes, self._parameters.exclude)
        settings = DefaultWeightOnlyQuantConfig(
            block_size=self._parameters.block_size or BLOCK,
            is_symmetric=True,
            accuracy_level=COMPUTE_IN_INT8,
            op_types_to_quantize=operators,
            bits=4,
        )
        before = graph.operators(model)
        with quiet():
            quantizer = MatMulNBitsQuantizer(model, algo_config=settings, nodes_to_exclude=sorted(skipped))
            quantizer.process()
        made: onnx.ModelProto = quantizer.model.model
        if graph.operators(made) == before:
            raise TechniqueFailed("there is nothing to store in four bits: no table or product that is large enough")
        graph.save(graph.conform_to_opset(made), target)
