"""FP16 and BF16 storage: weights in half the bytes, computed with in float32. Nearly exact, and no faster on a CPU.

FP16 keeps eleven bits of each value and a small range; BF16 eight bits and the whole range of float32.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kaon.api.compressionjob import Quantize
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.techniques.ort import left_alone
from kaon_jobs.compress.training.calibration import Calibration
from kaon_jobs.errors import TechniqueFailed

WORTHWHILE_ELEMENTS = 1024
"""A smaller tensor saves fewer bytes than the node that casts it back takes."""

_LARGEST = float(np.finfo(np.float16).max)


class HalfStorage:
    """Every large float32 weight, whatever reads it, except those of excluded nodes."""

    def __init__(self, parameters: Quantize) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """See Technique."""
        model = graph.load(source)
        skipped = left_alone(graph.weight_nodes(model), self._parameters.exclude)
        kept = {name for node in model.graph.node if node.name in skipped for name in node.input}
        halved = [tensor for tensor in model.graph.initializer if _worthwhile(tensor) and tensor.name not in kept]
        brief = self._parameters.scheme == "bf16"
        casts = [_halve(tensor, brief) for tensor in halved]
        if not casts:
            raise TechniqueFailed("there is nothing to halve: no large float32 weights")
        nodes = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*casts, *nodes])
        graph.save(model, target)


def _worthwhile(tensor: TensorProto) -> bool:
    return bool(tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= WORTHWHILE_ELEMENTS)


def _halve(tensor: TensorProto, brief: bool) -> onnx.NodeProto:
    """Stores the tensor in 16 bits under another name; the node that is returned gives the old name back."""
    values = numpy_helper.to_array(tensor)
    if not brief and np.abs(values).max() > _LARGEST:
        raise TechniqueFailed(f"the weight {tensor.name} has values beyond float16's range; bf16 has a larger one")
    name, kind = tensor.name, ml_dtypes.bfloat16 if brief else np.float16
    tensor.CopyFrom(numpy_helper.from_array(values.astype(kind), f"{name}.half"))
    return helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
