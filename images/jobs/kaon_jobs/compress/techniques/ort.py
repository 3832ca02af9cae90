"""What the INT8 techniques share of onnxruntime's quantizer: its options, its traps, which nodes to take."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from kaon_jobs.compress.families import graph
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.measure.speed import instruction_sets
from kaon_jobs.predict.onnx_model import MODEL_FILE

# Fused operators have no shape inference, so the quantizer cannot see that what goes into them are floats.
OPTIONS: dict[str, Any] = {"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True}

_SAFE_SETS = ("VNNI", "AMX_INT8", "NEON")


def needs_reduced_range(sets: str | None = None) -> bool:
    """Whether products of eight by eight bits may overflow on this processor, so that weights get seven.

    x86 without VNNI adds pairs of products in 16 bits, which saturate.
    """
    found = instruction_sets() if sets is None else sets
    return not any(name in found for name in _SAFE_SETS)


def left_alone(nodes: Sequence[graph.WeightNode], parts: Sequence[str]) -> set[str]:
    """The names of the nodes that stay in full precision.

    Raises:
        TechniqueFailed: a part names no node, or nothing would be left to quantize.
    """
    try:
        skipped = set(graph.excluded(nodes, parts))
    except KeyError as error:
        known = ", ".join(node.name for node in nodes[:10])
        raise TechniqueFailed(
            f"exclude: {error.args[0]!r} names no node that could be quantized; there are {known} …"
        ) from error
    if len(skipped) == len(nodes):
        raise TechniqueFailed(
            "there is nothing to quantize: no weights are left" if nodes else "the graph holds no weights"
        )
    return skipped


def quantize_nodes_dynamically(model: onnx.ModelProto, target: Path, nodes: list[str], per_channel: bool) -> None:
    """Writes target/model.onnx with the weights of `nodes` in INT8."""
    with quiet():
        quantize_dynamic(
            model,
            target / MODEL_FILE,
            op_types_to_quantize=list(graph.QUANTIZABLE),
            nodes_to_quantize=also_as_products(nodes),
            per_channel=per_channel,
            reduce_range=needs_reduced_range(),
            # onnxruntime has no convolution of signed weights by ranges that it learns on the way.
            weight_type=QuantType.QUInt8 if _convolves(model, nodes) else QuantType.QInt8,
            extra_options=dict(OPTIONS),
        )


def _convolves(model: onnx.ModelProto, nodes: Sequence[str]) -> bool:
    named = set(nodes)
    return any(node.op_type == "Conv" and node.name in named for node in model.graph.node)


def also_as_products(nodes: Sequence[str]) -> list[str]:
    """The names with those that the nodes get when the quantizer takes a Gemm apart into a product and a sum."""
    return [name for node in nodes for name in (node, f"{node}_MatMul")]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The quantizer advises on pre-processing that is done already, through the root logger and standard output."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
