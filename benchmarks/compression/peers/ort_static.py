"""onnxruntime alone: quantize_static in QDQ form, which its documentation recommends for convolutional networks.

Of the calibration methods the one with the best validation score is taken.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from contract import MODEL_FILE, Case, Feed, Made, main
from peers.ort_graphs import options
from peers.sessions import Reader, calibration, predicted


def compress(case: Case, out: Path) -> Made:
    """The best of three quantized graphs."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.shape_inference import quant_pre_process

    validation = case.rows("validation")
    # Histograms of different shapes do not add up: texts come padded, as they would to a static graph.
    feeds = calibration(case, fixed_length=True)
    scores = {}
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(case.model), str(graph), skip_symbolic_shape=case.kind == "text")
        for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile):
            candidate = Path(scratch) / f"{method.name}.onnx"
            _quantize(case, graph, candidate, feeds, method)
            score = case.validation_score(validation, predicted(candidate, validation, case.threads))
            scores[method.name] = (score, candidate)
        best = max(scores, key=lambda name: scores[name][0])
        (out / MODEL_FILE).write_bytes(scores[best][1].read_bytes())
    return Made(f"pre-processing, quantize_static QDQ per channel, {best} calibration")


def _quantize(case: Case, graph: Path, target: Path, feeds: list[Feed], method: Any) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        graph,
        target,
        Reader(feeds),
        quant_format=QuantFormat.QDQ,
        # Of a text model products and tables alone: its mask adds minus infinity, which has no scale.
        op_types_to_quantize=["MatMul", "Gemm", "Gather"] if case.kind == "text" else None,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=method,
        # One batch at a time: the intermediate results of all rows fill the memory.
        extra_options={**options(case), "CalibStridedMinMax": 1, "CalibPercentile": 99.99},
    )


if __name__ == "__main__":
    main(compress, "onnxruntime")
