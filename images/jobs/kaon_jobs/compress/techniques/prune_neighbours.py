"""prune with method: neighbours: of each item's neighbours the most similar ones alone.

A model of neighbours (learn/recommend/linear.py) holds two tables, whose rows list each item's neighbours and how
similar they are, the most similar first. Nothing is trained again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from kaon.api.compressionjob import Prune
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.errors import TechniqueFailed

TAKES: tuple[Kind, ...] = ("ranker",)
_WHOLE = (TensorProto.UINT16, TensorProto.INT32)


def technique(parameters: Prune, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return NeighbourPruning(parameters.ratio or 0.0)


class NeighbourPruning:
    """Of each item the last neighbours go, by the same share."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        model = graph.load(source)
        tables = _tables(model)
        before = int(tables[0].dims[1])
        after = max(1, round((1 - self._ratio) * before))
        if after == before:
            raise TechniqueFailed(f"a ratio of {self._ratio:g} leaves all {before} neighbours; ask for more")
        for tensor in tables:
            kept = np.ascontiguousarray(numpy_helper.to_array(tensor)[:, :after])
            tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))
        graph.save(model, target)


def _tables(model: onnx.ModelProto) -> tuple[TensorProto, TensorProto]:
    """Neighbours, and their similarities.

    Raises:
        TechniqueFailed: the model has none, or in another form.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    looked_up = [
        stored[node.input[0]] for node in model.graph.node if node.op_type == "Gather" and node.input[0] in stored
    ]
    near = [tensor for tensor in looked_up if tensor.data_type in _WHOLE and len(tensor.dims) == 2]
    similar = [tensor for tensor in looked_up if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2]
    scatters = any(node.op_type == "ScatterElements" and len(node.attribute) > 1 for node in model.graph.node)
    if len(near) != 1 or len(similar) != 1 or near[0].dims != similar[0].dims or not scatters:
        raise TechniqueFailed(
            "this model holds no table of neighbours in full precision; it is for builtin:item-knn, before quantize"
        )
    return near[0], similar[0]
