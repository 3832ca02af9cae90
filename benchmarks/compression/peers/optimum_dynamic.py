"""optimum: its optimizer for transformers and its INT8 for processors with VNNI, on the exported ONNX model.

Its quantizer refuses the operators that its own optimizer makes (with onnxruntime 1.32 it would have to say what type
their outputs have, and offers no setting for it). Then the exported graph is quantized, which it documents as well.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from contract import MODEL_FILE, Case, Made, NotPossible, main
from optimum.onnxruntime import ORTOptimizer, ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, OptimizationConfig


def compress(case: Case, out: Path) -> Made:
    """Optimize, quantize: its two documented steps; without the first where the second refuses."""
    if case.kind != "text":
        raise NotPossible("takes models in the Hugging Face format only; this is a plain network")
    with tempfile.TemporaryDirectory() as scratch:
        exported, optimized = (Path(scratch) / step for step in ("exported", "optimized"))
        # Both steps read the model's configuration beside the graph.
        exported.mkdir()
        shutil.copyfile(case.torch_form / "config.json", exported / "config.json")
        shutil.copyfile(case.model, exported / MODEL_FILE)
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
