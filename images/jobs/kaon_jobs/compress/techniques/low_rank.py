"""Low-rank factorization: a matrix becomes the product of two thinner ones, where these hold fewer numbers.

By truncated singular values of the weight itself (Eckart-Young), on the exported graph: encoders, CNN heads and tabular
nets alike. It comes after fusion, which would not know the factors, and before quantization, which takes both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kaon.api.compressionjob import LowRank
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.training.calibration import Calibration
from kaon_jobs.errors import TechniqueFailed

Matrix = NDArray[np.float32]


TAKES: tuple[Kind, ...] = ("encoder", "text", "network", "ranker")


def technique(parameters: LowRank, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return LowRankFactorization(parameters)


class LowRankFactorization:
    """Every product by a stored matrix for which two thinner ones are smaller."""

    def __init__(self, parameters: LowRank) -> None:
        self._energy = parameters.energy

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """See Technique."""
        model = graph.gemms_apart(graph.load(source))
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        readers = [name for node in model.graph.node for name in node.input]
        nodes: list[onnx.NodeProto] = []
        changed = 0
        for node in model.graph.node:
            tensor = stored.get(node.input[1]) if node.op_type == "MatMul" else None
            factors = None
            if tensor is not None and len(tensor.dims) == 2 and readers.count(tensor.name) == 1:
                factors = factorize(numpy_helper.to_array(tensor), self._energy)
            if tensor is None or factors is None:
                nodes.append(node)
                continue
            nodes.extend(_pair(model, node, tensor, factors))
            changed += 1
        if not changed:
            raise TechniqueFailed(
                f"no matrix is smaller as a product of two that keep {self._energy:g} of its energy; ask for less"
            )
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        graph.save(model, target)


def factorize(weight: Matrix, energy: float) -> tuple[Matrix, Matrix] | None:
    """Two matrices whose product keeps this share of the squared singular values; None when they are not smaller."""
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    kept = np.cumsum(values**2) / np.sum(values**2)
    rank = int(np.searchsorted(kept, energy) + 1)
    rows, columns = weight.shape
    if rank * (rows + columns) >= rows * columns:
        return None
    # The root of the values on both sides: factors of like range lose alike when they are quantized.
    root = np.sqrt(values[:rank])
    return (left[:, :rank] * root).astype(np.float32), (root[:, None] * right[:rank]).astype(np.float32)


def _pair(
    model: onnx.ModelProto, node: onnx.NodeProto, tensor: onnx.TensorProto, factors: tuple[Matrix, Matrix]
) -> list[onnx.NodeProto]:
    name, between = tensor.name, f"{node.name}.between"
    first, second = (f"{name}.left", f"{name}.right")
    model.graph.initializer.remove(tensor)
    model.graph.initializer.extend(
        [numpy_helper.from_array(factors[0], first), numpy_helper.from_array(factors[1], second)]
    )
    return [
        helper.make_node("MatMul", [node.input[0], first], [between], name=f"{node.name}.left"),
        helper.make_node("MatMul", [between, second], list(node.output), name=f"{node.name}.right"),
    ]
