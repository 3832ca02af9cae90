"""optimum: export from the Hugging Face folder, its optimizer for transformers, its INT8 for processors with VNNI."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from contract import MODEL_FILE, Case, Made, NotPossible, main
from optimum.onnxruntime import ORTModelForSequenceClassification, ORTOptimizer, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, OptimizationConfig


def compress(case: Case, out: Path) -> Made:
    """Export, optimize, quantize: its three documented steps."""
    if case.kind != "text":
        raise NotPossible("optimum takes models of the Hugging Face hub's formats; this is a plain network")
    with tempfile.TemporaryDirectory() as scratch:
        exported, optimized, quantized = (Path(scratch) / step for step in ("exported", "optimized", "quantized"))
        ORTModelForSequenceClassification.from_pretrained(case.torch_form, export=True).save_pretrained(exported)
        level = OptimizationConfig(optimization_level=2, enable_transformers_specific_optimizations=True)
        ORTOptimizer.from_pretrained(exported).optimize(save_dir=optimized, optimization_config=level)
        quantizer = ORTQuantizer.from_pretrained(optimized, file_name="model_optimized.onnx")
        quantizer.quantize(
            save_dir=quantized,
            quantization_config=AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True),
        )
        (made,) = quantized.glob("*_quantized.onnx")
        shutil.copyfile(made, out / MODEL_FILE)
    return Made("ORTOptimizer O2, ORTQuantizer avx512_vnni dynamic per channel")


if __name__ == "__main__":
    main(compress, "optimum-onnx", "onnxruntime")
