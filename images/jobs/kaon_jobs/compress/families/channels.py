"""Which channels of a network hang together, and the network without some of them.

A channel is an output of a convolution or of a matrix. Taking one away takes away its filter, its bias, what
normalizes it, and what each later layer does with it; where a residual connection adds two layers' outputs, both lose
the same channels. So channels form groups (the dependency graph of Fang et al., "DepGraph", CVPR 2023, here read off
the exported graph), and of a group a channel goes whole or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.network_shape import NARROWED, NetworkShape

MULTIPLE = 8
"""Widths stay a multiple of this: what vector instructions take at once."""

_SAME_CHANNELS = (
    "AveragePool", "Clip", "Dropout", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
    "MaxPool", "Relu", "Selu", "Sigmoid", "Softplus", "Tanh",
)  # fmt: skip
_BOTH = ("Add", "Mul")


@dataclass(frozen=True, slots=True)
class Part:
    """Where a channel lies in a stored tensor: `block` neighbours along `axis`."""

    tensor: str
    axis: int
    block: int
    makes: bool
    """Whether the tensor makes the channel, and not only reads it."""


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that come and go together in all of these tensors."""

    count: int
    parts: tuple[Part, ...]
    depthwise: tuple[str, ...]
    """Names of the convolutions that treat each of them alone."""

    def width(self, ratio: float) -> int:
        """How many stay when that share goes."""
        return min(self.count, max(MULTIPLE, round(self.count * (1 - ratio) / MULTIPLE) * MULTIPLE))


def groups(model: onnx.ModelProto) -> list[Group]:
    """The groups of an unshared graph whose channels may go, in the graph's order.

    Inputs and outputs of the whole stay as they are, and so does whatever an operator touches that is not known here.
    """
    return _Tracer(model).groups()


def without(model: onnx.ModelProto, chosen: Sequence[tuple[Group, NDArray[np.int64]]]) -> onnx.ModelProto:
    """The graph with these channels of each group left, given in ascending order."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.value_info[:]
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    nodes = {node.name: node for node in made.graph.node}
    for group, kept in chosen:
        for part in group.parts:
            places = (kept[:, None] * part.block + np.arange(part.block)).reshape(-1)
            smaller = np.take(onnx.numpy_helper.to_array(tensors[part.tensor]), places, axis=part.axis)
            tensors[part.tensor].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(smaller), part.tensor))
        for name in group.depthwise:
            next(item for item in nodes[name].attribute if item.name == "group").i = len(kept)
    return made


def narrowed(model: onnx.ModelProto, ratio: float) -> onnx.ModelProto:
    """The graph with that share of each group gone, whichever channels they are: for what does not depend on them."""
    return without(model, [(group, np.arange(group.width(ratio))) for group in groups(model)])


def shape_of(model: onnx.ModelProto, rows: int) -> NetworkShape | None:
    """What there is to take away of a network with so many training rows; None when no channels may go."""
    model = graph.unshared(model)
    if not groups(model):
        return None
    narrower = [(ratio, narrowed(model, ratio)) for ratio in NARROWED]
    return NetworkShape(rows, tuple((ratio, *costs(made)) for ratio, made in [(0.0, model), *narrower]))


def costs(model: onnx.ModelProto) -> tuple[float, float]:
    """Multiplications of one prediction, and numbers that are stored."""
    shapes = _shapes(model)
    stored = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    work = 0.0
    for node in model.graph.node:
        weight = stored.get(node.input[1]) if len(node.input) > 1 else None
        if weight is None or node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        positions = math.prod(shapes.get(node.output[0], [0])[2:]) if node.op_type == "Conv" else 1
        work += math.prod(weight) * positions
    return work, float(sum(math.prod(dims) for dims in stored.values()))


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shapes of all values as far as they can be inferred; what is not fixed is 0."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*inferred.input, *inferred.value_info, *inferred.output)
    }


class _Tracer:
    """Follows the channels (axis 1 of every value) through a graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._shapes = _shapes(model)
        self._stored = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
        self._parent: list[int] = []
        self._counts: list[int] = []
        self._parts: list[list[Part]] = []
        self._depthwise: list[list[str]] = []
        self._fixed: list[bool] = []
        self._of: dict[str, tuple[int, int]] = {}
        """Value -> (its group, neighbours that make a channel after flattening)."""
        for item in model.graph.input:
            self._of[item.name] = (self._new(0, fixed=True), 1)
        for node in model.graph.node:
            if not self._follow(node):
                for name in node.input:
                    self._fix(name)
                for name in node.output:
                    self._of[name] = (self._new(0, fixed=True), 1)
        for item in model.graph.output:
            self._fix(item.name)

    def groups(self) -> list[Group]:
        """What was found."""
        found = []
        for index in range(len(self._parent)):
            if self._root(index) == index and not self._fixed[index] and self._counts[index] > 1:
                parts, alone = tuple(self._parts[index]), tuple(self._depthwise[index])
                found.append(Group(self._counts[index], parts, alone))
        return found

    def _follow(self, node: onnx.NodeProto) -> bool:
        """Whether it is known what the node does to channels."""
        described = graph.attributes(node)
        match node.op_type:
            case "Conv":
                return self._convolution(node, described.get("group", 1))
            case "Gemm" if not described.get("transA", 0):
                made = 0 if described.get("transB", 0) else 1
                return self._product(node, made)
            case "MatMul":
                return self._product(node, 1)
            case "BatchNormalization":
                parts = node.input[1:]
                return self._same(node) and all(self._take(node.output[0], name, 0, makes=False) for name in parts)
            case "Flatten" | "Reshape":
                return self._flattening(node)
            case "ReduceMean":
                return len(self._shapes.get(node.output[0], [])) == 4 and self._same(node)
            case kind if kind in _BOTH:
                return self._sum(node)
            case kind if kind in _SAME_CHANNELS:
                return self._same(node)
        return node.op_type == "Constant"

    def _convolution(self, node: onnx.NodeProto, apart: int) -> bool:
        weight = self._stored.get(node.input[1])
        if weight is None:
            return False
        if apart == 1:
            if not self._take(node.input[0], node.input[1], 1, makes=False):
                return False
            self._of[node.output[0]] = (self._new(weight[0]), 1)
        elif apart == weight[0] and weight[1] == 1:
            if not self._same(node):
                return False
            self._depthwise[self._group(node.output[0])].append(node.name)
        else:
            return False
        return all(self._take(node.output[0], name, 0, makes=True) for name in node.input[1:])

    def _product(self, node: onnx.NodeProto, made: int) -> bool:
        weight = self._stored.get(node.input[1])
        if weight is None or len(weight) != 2:
            return False
        if len(self._shapes.get(node.input[0], [])) != 2:
            return False
        if not self._take(node.input[0], node.input[1], 1 - made, makes=False):
            return False
        self._of[node.output[0]] = (self._new(weight[made]), 1)
        added = [(name, len(self._stored.get(name, [0])) - 1) for name in node.input[2:]]
        return all(self._take(node.output[0], name, axis, makes=True) for name, axis in [(node.input[1], made), *added])

    def _sum(self, node: onnx.NodeProto) -> bool:
        left, right = node.input
        if left in self._stored:
            left, right = right, left
        if right not in self._stored:
            return self._join(left, right) and self._same(node)
        dims = self._stored[right]
        axis = len(dims) - (len(self._shapes.get(left, [0, 0])) - 1)
        self._of[node.output[0]] = self._of.get(left, (self._new(0, fixed=True), 1))
        if math.prod(dims) == 1 or axis < 0 or dims[axis] == 1:
            return left in self._of
        return self._take(left, right, axis, makes=False)

    def _flattening(self, node: onnx.NodeProto) -> bool:
        before, after = self._shapes.get(node.input[0], []), self._shapes.get(node.output[0], [])
        if node.input[0] not in self._of or len(after) != 2 or not all(before[1:]):
            return False
        group, block = self._of[node.input[0]]
        self._of[node.output[0]] = (group, block * math.prod(before[2:]))
        return True

    def _same(self, node: onnx.NodeProto) -> bool:
        if node.input[0] not in self._of:
            return False
        self._of[node.output[0]] = self._of[node.input[0]]
        return True

    def _take(self, value: str, tensor: str, axis: int, *, makes: bool) -> bool:
        """The channels of a value lie along an axis of a stored tensor."""
        if value not in self._of or tensor not in self._stored:
            return False
        group, block = self._of[value]
        self._parts[self._root(group)].append(Part(tensor, axis, block, makes))
        return True

    def _join(self, left: str, right: str) -> bool:
        if left not in self._of or right not in self._of or self._of[left][1] != self._of[right][1]:
            return False
        one, other = self._group(left), self._group(right)
        if one != other:
            self._parent[other] = one
            self._counts[one] = max(self._counts[one], self._counts[other])
            self._parts[one] += self._parts[other]
            self._depthwise[one] += self._depthwise[other]
            self._fixed[one] |= self._fixed[other]
        return True

    def _new(self, count: int, *, fixed: bool = False) -> int:
        self._parent.append(len(self._parent))
        self._counts.append(count)
        self._parts.append([])
        self._depthwise.append([])
        self._fixed.append(fixed)
        return len(self._parent) - 1

    def _fix(self, value: str) -> None:
        if value in self._of:
            self._fixed[self._group(value)] = True

    def _group(self, value: str) -> int:
        return self._root(self._of[value][0])

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            index = self._parent[index]
        return index
