"""INT8, static: ranges of activations learnt from training rows and fixed in the graph (QDQ)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from kaon.api.compressionjob import Quantize
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.techniques.ort import (
    OPTIONS,
    also_as_products,
    left_alone,
    needs_reduced_range,
    quantize_nodes_dynamically,
    quiet,
)
from kaon_jobs.compress.training.calibration import Calibration, Reader, batches
from kaon_jobs.predict.onnx_model import MODEL_FILE

DEFAULT_SAMPLES = 256

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_DYNAMIC_ONLY = ("Attention", "EmbedLayerNormalization")
"""Fused operators for which onnxruntime has INT8 kernels, but none that take fixed ranges in QDQ form."""
_BETWEEN = ("Add", "AveragePool", "Clip", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Reshape")
"""Operators between convolutions, which stay in eight bits when they are asked to."""
_FUSED = (
    "Attention",
    "QAttention",
    "MultiHeadAttention",
    "EmbedLayerNormalization",
    "QEmbedLayerNormalization",
    "SkipLayerNormalization",
    "BiasGelu",
    "Gelu",
    "FastGelu",
)


TAKES: tuple[Kind, ...] = ("encoder", "text", "network")


def technique(parameters: Quantize, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return Int8Static(parameters)


class Int8Static:
    """Matrix products and embeddings with fixed ranges; fused attention, where there is any, dynamically."""

    def __init__(self, parameters: Quantize) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """See Technique."""
        model = graph.load(source)
        nodes = graph.weight_nodes(model)
        skipped = left_alone(nodes, self._parameters.exclude)
        chosen = [node for node in nodes if node.name not in skipped]
        static = [] if not any(node.op_type == "Conv" for node in chosen) else _between(model)
        static += [node.name for node in chosen if node.op_type not in _DYNAMIC_ONLY]
        dynamic = [node.name for node in chosen if node.op_type in _DYNAMIC_ONLY]
        per_channel = self._parameters.per_channel is not False
        with tempfile.TemporaryDirectory(prefix="static-") as scratch:
            if dynamic:
                # First: the ranges below are then those of activations behind quantized attention, as in use.
                quantize_nodes_dynamically(model, Path(scratch), dynamic, per_channel)
                model = graph.load(Path(scratch))
            _declare_floats(model)
            graph.save(model, Path(scratch))
            if static:
                self._quantize(Path(scratch), source, target, static, per_channel, data)
            else:
                graph.save(model, target)

    def _quantize(
        self, folder: Path, source: Path, target: Path, nodes: list[str], per_channel: bool, data: Calibration
    ) -> None:
        model = onnx.load(folder / MODEL_FILE)
        texts = data.draw(self._parameters.calibration_samples or DEFAULT_SAMPLES)
        inputs = batches(source, texts, [item.name for item in model.graph.input])
        method = self._parameters.calibration_method or "minmax"
        # One batch at a time: histograms need equal shapes, and intermediate results of all rows fill the memory.
        options = {**OPTIONS, "CalibStridedMinMax": 1}
        if method == "percentile":
            options["CalibPercentile"] = 99.99
        with quiet():
            quantize_static(
                folder / MODEL_FILE,
                target / MODEL_FILE,
                Reader(inputs),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul", "Gemm", "Gather", "Conv", *_BETWEEN],
                nodes_to_quantize=also_as_products(nodes),
                per_channel=per_channel,
                reduce_range=needs_reduced_range(),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=_METHODS[method],
                extra_options=options,
            )


def _between(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in _BETWEEN]


def _declare_floats(model: onnx.ModelProto) -> None:
    """Says that fused operators give floats: shape inference does not know them, and calibration skips the unknown."""
    for node in model.graph.node:
        if node.op_type in _FUSED:
            model.graph.value_info.append(
                onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
            )
