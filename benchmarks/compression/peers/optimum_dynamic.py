"""optimum: export from the Hugging Face folder, its optimizer for transformers, its INT8 for processors with VNNI.

Its quantizer refuses the operators that its own optimizer makes (with onnxruntime 1.32 it would have to say what type
their outputs have, and offers no setting for it). Then the exported graph is quantized, which it documents as well.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from contract import MODEL_FILE, Case, Made, NotPossible, main
from optimum.onnxruntime import ORTModelForSequenceClassification, ORTOptimizer, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, OptimizationConfig


def compress(case: Case, out: Path) -> Made:
    """Export, optimize, quantize: its three documented steps; without the second where the third refuses."""
    if case.kind != "text":
        raise NotPossible("takes models in the Hugging Face format only; this is a plain network")
    with tempfile.TemporaryDirectory() as scratch:
        exported, optimized = (Path(scratch) / step for step in ("exported", "optimized"))
        ORTModelForSequenceClassification.from_pretrained(case.torch_form, export=True).save_pretrained(exported)
        level = OptimizationConfig(optimization_level=2, enable_transformers_specific_optimizations=True)
        ORTOptimizer.from_pretrained(exported).optimize(save_dir=optimized, optimization_config=level)
        try:
            made, did = _quantized(optimized, "model_optimized.onnx"), "ORTOptimizer O2 and ORTQuantizer"
        except RuntimeError as refusal:
            print(refusal)
            made, did = _quantized(exported, MODEL_FILE), "ORTQuantizer (it refuses what ORTOptimizer makes),"
        shutil.copyfile(made, out / MODEL_FILE)
    return Made(f"{did} avx512_vnni dynamic per channel")


def _quantized(folder: Path, name: str) -> Path:
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(folder, file_name=name).quantize(save_dir=folder, quantization_config=settings)
    (made,) = folder.glob("*_quantized.onnx")
    return made


if __name__ == "__main__":
    main(compress, "optimum-onnx", "onnxruntime")
