"""The last layer for the first token alone, when that is all the head reads. Exact, and for a shallow model much work.

A classifier of BERT's shape takes one row of the last hidden states. Everything behind the last attention works row by
row, so the row can be taken before it instead of after: one row through the feed-forward part instead of all.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_ROW_BY_ROW = {
    "SkipLayerNormalization": (0, 1),
    "LayerNormalization": (0,),
    "MatMul": (0,),
    "BiasGelu": (0,),
    "Gelu": (0,),
    "FastGelu": (0,),
    "Relu": (0,),
    "Tanh": (0,),
    "Erf": (0,),
    "Add": (0, 1),
    "Mul": (0, 1),
    "Div": (0, 1),
}
"""Operators that never mix tokens, and which of their inputs may hold rows of tokens."""
_INDEX = "first_token_index"


def take_first_token_early(model: onnx.ModelProto) -> bool:
    """Moves the choice of the first token up to the last operator that mixes tokens. False when there is nothing to do.

    Changes the model in place.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = stored | {
        node.output[0]: attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    chosen = [node for node in model.graph.node if _takes_first(node, constants)]
    if len(chosen) != 1:
        return False
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {item.name for item in model.graph.output}

    moved: list[onnx.NodeProto] = []
    inside = {chosen[0].name}
    frontier: list[str] = []
    waiting = [chosen[0].input[0]]
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        movable = (
            maker is not None
            and maker.op_type in _ROW_BY_ROW
            and name not in outputs
            and all(reader.name in inside for output in maker.output for reader in readers.get(output, []))
            and (
                maker.op_type == "MatMul"
                or all(len(constants[one].dims) < 2 for one in maker.input if one in constants)
            )
        )
        if maker is None or not movable:
            frontier.append(name)
            continue
        if maker.name in inside:
            continue
        inside.add(maker.name)
        moved.append(maker)
        positions = _ROW_BY_ROW[maker.op_type]
        waiting.extend(
            maker.input[at] for at in positions if at < len(maker.input) and maker.input[at] not in constants
        )
        # A value that several of these read is decided when the last of its readers is inside.
        waiting.sort(key=lambda item: all(reader.name in inside for reader in readers.get(item, [])))
    if not moved:
        return False
    _insert(model, sorted(set(frontier)), inside - {chosen[0].name})
    return True


def _takes_first(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Gather" or node.input[1] not in constants:
        return False
    index = numpy_helper.to_array(constants[node.input[1]])
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    # A table has its rows on axis 0; axis 1 is that of tokens.
    return bool(axis == 1 and index.size == 1 and int(index.ravel()[0]) == 0 and node.input[0] not in constants)


def _insert(model: onnx.ModelProto, frontier: list[str], inside: set[str]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, dtype=np.int64), _INDEX))
    short = {name: f"{name}.first_token" for name in frontier}
    nodes: list[onnx.NodeProto] = []
    made: set[str] = set()
    for node in model.graph.node:
        if node.name in inside:
            for at, name in enumerate(node.input):
                if name in short:
                    node.input[at] = short[name]
        nodes.append(node)
        for name in node.output:
            if name in short:
                # One row, but still an axis of rows, so that everything behind sees the rank it knows.
                nodes.append(helper.make_node("Gather", [name, _INDEX], [short[name]], name=f"{name}.first", axis=1))
                made.add(name)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert made == set(frontier), "every value on the frontier is made by a node"
