"""What compression needs to know of an ONNX graph: which nodes hold weights, and how small it could ever be.

Reads and writes model.onnx of a directory; decides nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from kaon_jobs.compress.families.stacks import apart
from kaon_jobs.predict.onnx_model import MODEL_FILE

QUANTIZABLE = {"MatMul": 1, "Gemm": 1, "Conv": 1, "Attention": 1, "Gather": 0, "EmbedLayerNormalization": 2}
"""Operators that can hold quantized weights, and which of their inputs is the (first) weight."""

_AXES_AS_INPUT = 18
_REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)
_SMALLEST_BITS = 8
_FLOATS = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.BFLOAT16: 2}


@dataclass(frozen=True, slots=True)
class WeightNode:
    """A node that multiplies by, or looks up in, a stored weight."""

    name: str
    op_type: str
    aliases: tuple[str, ...]
    """Its own name, its weights' and its outputs': what a user may know it by."""

    def matches(self, part: str) -> bool:
        """Whether `part` lies in one of its names."""
        return any(part in alias for alias in self.aliases)


def load(directory: Path) -> onnx.ModelProto:
    """The model of a directory, every node with a name of its own, without recorded shapes, networks apart."""
    model = onnx.load(directory / MODEL_FILE)
    # Shapes that an exporter recorded contradict what quantization infers, and break it.
    del model.graph.value_info[:]
    taken = Counter(node.name for node in model.graph.node)
    for index, node in enumerate(model.graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.name or node.op_type}.{index}"
    return apart(model)


def unshared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with a stored tensor of its own for each use: exporters store equal ones once, and name them again."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    alias = {node.output[0]: node.input[0] for node in made.graph.node if _renames(node, stored)}
    kept = [node for node in made.graph.node if not _renames(node, stored)]
    uses: Counter[str] = Counter()
    for node in kept:
        for place, name in enumerate(node.input):
            origin = alias.get(name, name)
            if origin not in stored:
                continue
            uses[origin] += 1
            own = origin if uses[origin] == 1 else f"{origin}.{uses[origin]}"
            if own != origin:
                made.graph.initializer.append(onnx.TensorProto())
                made.graph.initializer[-1].CopyFrom(stored[origin])
                made.graph.initializer[-1].name = own
            node.input[place] = own
    del made.graph.node[:]
    made.graph.node.extend(kept)
    return made


def _renames(node: onnx.NodeProto, stored: Container[str]) -> bool:
    return node.op_type == "Identity" and node.input[0] in stored


def gemms_apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with each Gemm over the rows of a text as a product, under its name, and a sum.

    So GPT-2's Conv1D is exported, and tools know products better. A Gemm over one row a text, as heads have, stays.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    makers = {name: node.op_type for node in made.graph.node for name in node.output}
    nodes = []
    for node in made.graph.node:
        told = attributes(node)
        plain = told.get("alpha", 1.0) == told.get("beta", 1.0) == 1.0 and not told.get("transA", 0)
        over_rows = node.op_type == "Gemm" and makers.get(node.input[0]) == "Reshape" and node.input[1] in stored
        if not (over_rows and plain and len(node.input) == 3):
            nodes.append(node)
            continue
        weight, product = node.input[1], f"{node.name}.product"
        if told.get("transB", 0):
            values = onnx.numpy_helper.to_array(stored[weight]).T.copy()
            weight = f"{node.name}.weight"
            made.graph.initializer.append(onnx.numpy_helper.from_array(values, weight))
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
        nodes.append(onnx.helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}.sum"))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    tensors = [tensor for tensor in made.graph.initializer if tensor.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend(tensors)
    return made


def conform_to_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with nodes as the operator set that it names writes them, in place.

    onnxruntime's tool for four bits names a later set and leaves the nodes as they were: since 18, reductions are given
    their axes as an input, and an even Split says into how many parts.
    """
    named = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if named < _AXES_AS_INPUT:
        return model
    for node in model.graph.node:
        told = attributes(node)
        if node.op_type in _REDUCTIONS and "axes" in told:
            axes = onnx.numpy_helper.from_array(np.asarray(told["axes"], dtype=np.int64), f"{node.name}.axes")
            model.graph.initializer.append(axes)
            kept = [item for item in node.attribute if item.name != "axes"]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.input.append(axes.name)
        elif node.op_type == "Split" and len(node.input) == 1 and "num_outputs" not in told:
            node.attribute.append(onnx.helper.make_attribute("num_outputs", len(node.output)))
    return model


def save(model: onnx.ModelProto, directory: Path) -> None:
    """Writes the model as one file."""
    onnx.save(model, directory / MODEL_FILE)


def weight_nodes(model: onnx.ModelProto) -> list[WeightNode]:
    """The nodes whose weights can be stored in fewer bits, in the graph's order."""
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type in _FLOATS}
    found = []
    for node in model.graph.node:
        position = QUANTIZABLE.get(node.op_type)
        if position is None or len(node.input) <= position or node.input[position] not in stored:
            continue
        weights = [name for name in node.input if name in stored]
        found.append(WeightNode(node.name, node.op_type, (node.name, *weights, *node.output)))
    return found


def excluded(nodes: Sequence[WeightNode], parts: Sequence[str]) -> list[str]:
    """Names of the nodes that `parts` name. A part that is exactly a node's name means only that node.

    Raises:
        KeyError: a part names none; the key is the part.
    """
    exact = {node.name for node in nodes}
    found: dict[str, None] = {}
    for part in parts:
        names = [part] if part in exact else [node.name for node in nodes if node.matches(part)]
        if not names:
            raise KeyError(part)
        found.update(dict.fromkeys(names))
    return list(found)


def smallest_bytes(model: onnx.ModelProto) -> int:
    """A bound: no combination of the techniques stores this graph's weights in fewer bytes.

    Every weight that is used takes at least eight bits, equal tensors counted once. A hundredth is left off for
    tables that fusion may cut.
    """
    used = {name for node in model.graph.node for name in node.input}
    seen: set[bytes] = set()
    total = 0
    for tensor in model.graph.initializer:
        if tensor.name not in used or tensor.data_type not in _FLOATS:
            continue
        digest = hashlib.sha256(onnx.numpy_helper.to_array(tensor).tobytes()).digest()
        if digest not in seen:
            seen.add(digest)
            total += math.prod(tensor.dims) * _SMALLEST_BITS // 8
    return int(total * 0.99)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs."""
    return Counter(node.op_type for node in model.graph.node)
