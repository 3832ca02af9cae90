"""onnxruntime alone: quantize_dynamic of the fused or pre-processed graph, per channel where that keeps more quality.

Its documentation recommends dynamic quantization for transformers. Of the two granularities the one with the better
validation score is taken.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from contract import MODEL_FILE, Case, Made, main
from peers.ort_graphs import options, prepared
from peers.sessions import predicted


def compress(case: Case, out: Path) -> Made:
    """The better of two quantized graphs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    validation = case.rows("validation")
    scores = {}
    with tempfile.TemporaryDirectory() as scratch:
        graph = prepared(case, Path(scratch) / "prepared.onnx")
        for per_channel in (False, True):
            candidate = Path(scratch) / f"{per_channel}.onnx"
            quantize_dynamic(
                graph, candidate, per_channel=per_channel, weight_type=QuantType.QInt8, extra_options=options(case)
            )
            score = case.validation_score(validation, predicted(candidate, validation, case.threads))
            scores[per_channel] = (score, candidate)
        best = max(scores, key=lambda per_channel: scores[per_channel][0])
        (out / MODEL_FILE).write_bytes(scores[best][1].read_bytes())
    before = "transformer fusion" if case.kind == "text" else "pre-processing"
    return Made(f"{before}, quantize_dynamic per {'channel' if best else 'tensor'}")


if __name__ == "__main__":
    main(compress, "onnxruntime")
