"""NNCF on the ONNX model itself: nncf.quantize, run by onnxruntime like the others."""

from __future__ import annotations

from pathlib import Path

import nncf
import onnx
from contract import MODEL_FILE, Case, Made, main
from peers.nncf_data import calibration_dataset, model_type


def compress(case: Case, out: Path) -> Made:
    """Quantizes to QDQ form."""
    quantized = nncf.quantize(onnx.load(case.model), calibration_dataset(case), model_type=model_type(case))
    onnx.save(quantized, out / MODEL_FILE)
    return Made("nncf.quantize, ONNX QDQ")


if __name__ == "__main__":
    main(compress, "nncf", "onnxruntime")
