"""Networks that are trained side by side, as branches of a graph: a product for each, not one by a stack of matrices.

The mean of some networks is exported as products by weights [networks, in, out] and a mean over the first axis. Tools
know matrices; with the branches apart each can be pruned, factorized and quantized like any other network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_ELEMENTWISE = ("Add", "Mul", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh")


def apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a branch for each network; as it is where it holds no such stack, or does more with one."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    if not any(_is_stack(node, stored) for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    branches: dict[str, list[str]] = {}
    nodes: list[onnx.NodeProto] = []
    new: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        stacked = [name for name in node.input if name in branches]
        if _is_stack(node, stored):
            count = stored[node.input[1]].dims[0]
        elif not stacked:
            nodes.append(node)
            continue
        elif node.op_type == "ReduceMean" and _over_networks(node, stored):
            nodes.append(onnx.helper.make_node("Mean", branches[node.input[0]], list(node.output), name=node.name))
            continue
        elif node.op_type in _ELEMENTWISE:
            count = len(branches[stacked[0]])
        else:
            return model
        parts = []
        for number in range(count):
            flat = node.op_type != "MatMul"
            inputs: list[Any] = [_part(name, number, count, branches, stored, new, flat) for name in node.input]
            if None in inputs:
                return model
            parts.append(f"{node.output[0]}.{number}")
            own = onnx.helper.make_node(node.op_type, inputs, [parts[-1]], name=f"{node.name}.{number}")
            own.attribute.extend(node.attribute)
            nodes.append(own)
        branches[node.output[0]] = parts
    if any(item.name in branches for item in model.graph.output):
        return model
    read = {name for node in nodes for name in node.input}
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend([*(tensor for name, tensor in stored.items() if name in read), *new.values()])
    return made


def _is_stack(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in stored and len(stored[node.input[1]].dims) == 3


def _over_networks(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> bool:
    told = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    axes = told.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in stored:
        axes = onnx.numpy_helper.to_array(stored[node.input[1]]).tolist()
    return axes == [0] and not told.get("keepdims", 1)


def _part(
    name: str,
    number: int,
    count: int,
    branches: Mapping[str, list[str]],
    stored: Mapping[str, onnx.TensorProto],
    new: dict[str, onnx.TensorProto],
    flat: bool,
) -> str | None:
    """What a branch reads for an input of all of them; None where that is not known.

    Args:
        flat: whether a bias [1, out] becomes one [out].
    """
    if name in branches:
        return branches[name][number]
    if name not in stored or len(stored[name].dims) < 3:
        return name
    values: NDArray[Any] = onnx.numpy_helper.to_array(stored[name])
    if values.ndim != 3 or len(values) != count:
        return None
    own = f"{name}.{number}"
    part = values[number]
    part = part[0] if flat and len(part) == 1 else part
    new[own] = onnx.numpy_helper.from_array(np.ascontiguousarray(part), own)
    return own
