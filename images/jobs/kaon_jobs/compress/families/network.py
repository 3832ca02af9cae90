"""An exported network as torch sees it: the same graph, its weights trainable. What was learnt goes back into it.

For convolutional and plain networks, of which there is the exported form alone, whatever they were written in: no code
of a model is needed, and none is run. Transformer encoders have a trained form of their own (encoder.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from kaon_jobs.compress.families import graph
from kaon_jobs.errors import TechniqueFailed

Attributes = Mapping[str, Any]
Operator = Callable[..., Tensor]

_PRODUCTS = ("BatchNormalization", "Conv", "Gemm", "MatMul")
_STATISTICS = (3, 4)
"""Inputs of BatchNormalization that are no weights."""


class Network(torch.nn.Module):
    """Evaluates an ONNX graph of one input and one output."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """
        Raises:
            TechniqueFailed: the graph has operators that are not known here.
        """
        super().__init__()
        unknown = sorted({node.op_type for node in model.graph.node} - OPERATORS.keys() - {"Constant"})
        if unknown:
            raise TechniqueFailed(
                f"this graph cannot be trained further: it has the operators {', '.join(unknown[:8])}; known are those "
                "of convolutional and plain networks. Put the step before optimize and quantize"
            )
        self._model = model
        self._input = next(item.name for item in model.graph.input if item.name not in _initializers(model))
        self._output = model.graph.output[0].name
        self._nodes = [
            (OPERATORS[node.op_type], list(node.input), node.output[0], graph.attributes(node))
            for node in model.graph.node
            if node.op_type != "Constant"
        ]
        statistics = {
            name
            for node in model.graph.node
            if node.op_type == "BatchNormalization"
            for name in (node.input[place] for place in _STATISTICS)
        }
        self._constants: dict[str, Tensor | None] = {"": None}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _tensor(graph.attributes(node)["value"])
        learnt = _behind_products(model) - statistics
        self._weights = torch.nn.ParameterDict()
        self._places: dict[str, str] = {}
        for index, tensor in enumerate(model.graph.initializer):
            values = _tensor(tensor)
            if values.is_floating_point() and values.dim() and tensor.name in learnt:
                self._places[tensor.name] = str(index)
                self._weights[str(index)] = torch.nn.Parameter(values)
            else:
                self._constants[tensor.name] = values

    def forward(self, values: Tensor) -> Tensor:
        """What the graph answers [rows, outputs] to a batch."""
        held = {**self._constants, self._input: values}
        held |= {name: self._weights[place] for name, place in self._places.items()}
        for operator, inputs, output, described in self._nodes:
            held[output] = operator(described, *(held[name] for name in inputs))
        found = held[self._output]
        assert found is not None
        return found

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """The parameters by the names of their initializers."""
        return {name: self._weights[place] for name, place in self._places.items()}

    def graph(self) -> onnx.ModelProto:
        """The graph with the weights as they are now."""
        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        for tensor in made.graph.initializer:
            if tensor.name in self._places:
                learnt = self._weights[self._places[tensor.name]].detach().numpy()
                tensor.CopyFrom(onnx.numpy_helper.from_array(learnt, tensor.name))
        return made


def _behind_products(model: onnx.ModelProto) -> set[str]:
    """Names that the first products and what comes behind them read. What comes before them prepares the inputs."""
    made: set[str] = set()
    read: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _PRODUCTS or made.intersection(node.input):
            made.update(node.output)
            read.update(node.input)
    return read


def _initializers(model: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def _tensor(proto: onnx.TensorProto) -> Tensor:
    # A copy: what numpy is given of a file may not be written to.
    return torch.from_numpy(np.array(onnx.numpy_helper.to_array(proto)))


# -- operators: (attributes, inputs …) -> output, as the ONNX specification says --------------------------------------


def _conv(described: Attributes, values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.dim() - 2
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    padded, padding = _pad(described, values, rank, 0.0)
    return convolve(
        padded,
        weight,
        bias,
        stride=described.get("strides", [1] * rank),
        padding=padding,
        dilation=described.get("dilations", [1] * rank),
        groups=described.get("group", 1),
    )


def _pad(described: Attributes, values: Tensor, rank: int, fill: float) -> tuple[Tensor, list[int]]:
    """The values, padded where both ends differ, and the padding that is left to do."""
    if described.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise TechniqueFailed(f"auto_pad {described['auto_pad'].decode()} is not known; export the model without it")
    pads = list(described.get("pads", [0] * 2 * rank))
    begin, end = pads[:rank], pads[rank:]
    if begin == end:
        return values, begin
    both = [amount for pair in reversed(list(zip(begin, end, strict=True))) for amount in pair]
    return functional.pad(values, both, value=fill), [0] * rank


def _pool(described: Attributes, values: Tensor, fill: float) -> tuple[Tensor, dict[str, Any]]:
    kernel = list(described["kernel_shape"])
    padded, padding = _pad(described, values, len(kernel), fill)
    strides = list(described.get("strides", [1] * len(kernel)))
    ceil = bool(described.get("ceil_mode", 0))
    return padded, {"kernel_size": kernel, "stride": strides, "padding": padding, "ceil_mode": ceil}


def _max_pool(described: Attributes, values: Tensor) -> Tensor:
    padded, how = _pool(described, values, float("-inf"))
    pool: Callable[..., Tensor] = (functional.max_pool1d, functional.max_pool2d)[values.dim() - 3]
    return pool(padded, dilation=list(described.get("dilations", [1] * (values.dim() - 2))), **how)


def _average_pool(described: Attributes, values: Tensor) -> Tensor:
    padded, how = _pool(described, values, 0.0)
    pool: Callable[..., Tensor] = (functional.avg_pool1d, functional.avg_pool2d)[values.dim() - 3]
    return pool(padded, count_include_pad=bool(described.get("count_include_pad", 0)), **how)


def _gemm(described: Attributes, left: Tensor, right: Tensor, added: Tensor | None = None) -> Tensor:
    left = left.t() if described.get("transA", 0) else left
    right = right.t() if described.get("transB", 0) else right
    product: Tensor = described.get("alpha", 1.0) * (left @ right)
    return product if added is None else product + described.get("beta", 1.0) * added


def _batch_normalization(
    described: Attributes, values: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    return functional.batch_norm(values, mean, variance, scale, shift, eps=described.get("epsilon", 1e-5))


def _mean(described: Attributes, values: Tensor, axes: Tensor | None = None) -> Tensor:
    wanted = described.get("axes") if axes is None else axes.tolist()
    return values.mean(dim=wanted, keepdim=bool(described.get("keepdims", 1)))


def _flatten(described: Attributes, values: Tensor) -> Tensor:
    axis = described.get("axis", 1)
    if axis != 1:
        raise TechniqueFailed(f"Flatten at axis {axis} is not known, only 1")
    return values.flatten(1)


def _reshape(described: Attributes, values: Tensor, shape: Tensor) -> Tensor:
    wanted = [values.shape[place] if size == 0 else size for place, size in enumerate(shape.tolist())]
    if wanted[0] == 1 and values.shape[0] != 1 and -1 not in wanted:
        # An exporter that saw one row has written its number down.
        wanted[0] = values.shape[0]
    return values.reshape(wanted)


def _clip(described: Attributes, values: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return values if low is None and high is None else torch.clamp(values, low, high)


def _hard_sigmoid(described: Attributes, values: Tensor) -> Tensor:
    return torch.clamp(described.get("alpha", 0.2) * values + described.get("beta", 0.5), 0.0, 1.0)


def _cast(described: Attributes, values: Tensor) -> Tensor:
    kind = described["to"]
    if kind != onnx.TensorProto.FLOAT:
        raise TechniqueFailed(f"Cast to {onnx.TensorProto.DataType.Name(kind)} is not known, only to FLOAT")
    return values.float()


OPERATORS: dict[str, Operator] = {
    "Add": lambda described, left, right: left + right,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda described, *values: torch.cat(values, dim=described["axis"]),
    "Conv": _conv,
    "Div": lambda described, left, right: left / right,
    "Dropout": lambda described, values, *ratio_and_mode: values,
    "Equal": lambda described, left, right: left == right,
    "Flatten": _flatten,
    "Gather": lambda described, values, places: values.index_select(described.get("axis", 0), places),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda described, values: values.mean(dim=list(range(2, values.dim())), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda described, values: values * _hard_sigmoid({"alpha": 1 / 6}, values),
    "Identity": lambda described, values: values,
    "IsNaN": lambda described, values: torch.isnan(values),
    "LeakyRelu": lambda described, values: functional.leaky_relu(values, described.get("alpha", 0.01)),
    "MatMul": lambda described, left, right: left @ right,
    "Max": lambda described, left, right: torch.maximum(left, right),
    "MaxPool": _max_pool,
    "Mean": lambda described, *values: torch.stack(values).mean(dim=0),
    "Min": lambda described, left, right: torch.minimum(left, right),
    "Mul": lambda described, left, right: left * right,
    "ReduceMean": _mean,
    "Relu": lambda described, values: functional.relu(values),
    "Reshape": _reshape,
    "Selu": lambda described, values: functional.selu(values),
    "Sigmoid": lambda described, values: torch.sigmoid(values),
    "Softplus": lambda described, values: functional.softplus(values),
    "Sqrt": lambda described, values: torch.sqrt(values),
    "Sub": lambda described, left, right: left - right,
    "Tanh": lambda described, values: torch.tanh(values),
    "Where": lambda described, chosen, left, right: torch.where(chosen, left, right),
}


def batched(values: Sequence[Any]) -> Tensor:
    """Arrays of one shape as a batch."""
    return torch.from_numpy(np.stack(values))
