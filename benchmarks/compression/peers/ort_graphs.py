"""The fp32 graph as onnxruntime wants it before it quantizes: transformers fused, others pre-processed."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from contract import Case


def prepared(case: Case, target: Path, *, fuse_embeddings: bool = True) -> Path:
    """Writes the graph to quantize, and returns where."""
    if case.kind == "text":
        _fuse(case, target, fuse_embeddings)
    else:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        quant_pre_process(str(case.model), str(target))
    return target


def _fuse(case: Case, target: Path, embeddings: bool) -> None:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    config = json.loads((case.torch_form / "config.json").read_text(encoding="utf-8"))
    fusions = FusionOptions("bert")
    fusions.enable_embed_layer_norm = embeddings
    optimizer = optimize_model(
        str(case.model),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        optimization_options=fusions,
        opt_level=0,
    )
    optimizer.save_model_to_file(str(target))


def options(case: Case) -> dict[str, int]:
    """Fused operators have no shape inference: the quantizer has to be told that what goes into them are floats."""
    return {"DefaultTensorType": onnx.TensorProto.FLOAT} if case.kind == "text" else {}
