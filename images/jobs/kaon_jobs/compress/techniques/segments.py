"""Segment embeddings of a model that is never told segments: one row, added into the positions' table once and for all.

The exported graph spends twenty operators on a tensor of zeros; a model of two layers feels them.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_SEGMENTS, _POSITION_TABLE, _SEGMENT_TABLE = 1, 3, 4
"""Inputs of EmbedLayerNormalization."""


def fold_segments(model: onnx.ModelProto) -> bool:
    """Takes the segments out of a fused embedding. False when there is none, or its segments may vary.

    Changes the model in place. Whether the folded row is the one that was used, the caller has to check on texts.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type != "EmbedLayerNormalization" or not node.input[_SEGMENTS]:
            continue
        positions, segments = (stored.get(node.input[at]) for at in (_POSITION_TABLE, _SEGMENT_TABLE))
        if positions is None or segments is None or not _depends_on_shapes_alone(node.input[_SEGMENTS], makers, stored):
            continue
        table = numpy_helper.to_array(positions) + numpy_helper.to_array(segments)[0]
        positions.CopyFrom(numpy_helper.from_array(table.astype(np.float32), positions.name))
        model.graph.initializer.remove(segments)
        node.input[_SEGMENTS] = node.input[_SEGMENT_TABLE] = ""
        drop_unused(model)
        return True
    return False


def _depends_on_shapes_alone(name: str, makers: dict[str, onnx.NodeProto], stored: dict[str, onnx.TensorProto]) -> bool:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in seen or one in stored or not one:
            continue
        seen.add(one)
        maker = makers.get(one)
        if maker is None:
            return False
        if maker.op_type != "Shape":
            waiting.extend(maker.input)
    return True


def drop_unused(model: onnx.ModelProto) -> None:
    """Takes away the nodes and stored values that nothing reads, directly or through others."""
    needed = {item.name for item in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
