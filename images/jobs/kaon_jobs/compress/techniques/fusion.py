"""Transformer fusion: attention, layer norm and GELU as one operator each. No change of precision, and checked so.

On top of onnxruntime's fusion, two exact rewrites that it does not know: the last layer for the first token alone, and
no segments where none are given.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.techniques.first_token import take_first_token_early
from kaon_jobs.compress.techniques.ort import quiet
from kaon_jobs.compress.techniques.segments import fold_segments
from kaon_jobs.compress.training.calibration import Calibration
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.onnx_model import MODEL_FILE
from kaon_jobs.predict.onnx_text import OnnxTextModel

CHECKED_TEXTS = 64
TOLERANCE = 1e-3
"""Largest absolute difference of a probability that a different order of additions explains."""


TAKES: tuple[Kind, ...] = ("encoder", "text")


def technique(parameters: str, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return TransformerFusion()


class TransformerFusion:
    """onnxruntime's fusion for encoders of BERT's shape, which covers DistilBERT, RoBERTa and MiniLM."""

    def apply(self, source: Path, target: Path, data: Calibration) -> None:
        """See Technique."""
        model = graph.load(source)
        before = graph.operators(model)
        fused = _fuse(model)
        gained = graph.operators(fused) - before
        if not any(gained[operator] for operator in _FUSED):
            raise TechniqueFailed(
                "there is nothing to fuse: the graph has no attention, layer norm or GELU that is known"
            )
        fold_segments(fused)
        take_first_token_early(fused)
        graph.save(fused, target)
        # Padded batches on purpose: a mask that fusion misread shows only there.
        texts = data.draw(CHECKED_TEXTS)
        difference = float(
            np.abs(
                OnnxTextModel(source, threads=1).answers(texts) - OnnxTextModel(target, threads=1).answers(texts)
            ).max()
        )
        if not difference <= TOLERANCE:
            raise TechniqueFailed(f"fusion changed a probability by {difference:.3g}; allowed is {TOLERANCE:g}")


_FUSED = (
    "Attention",
    "MultiHeadAttention",
    "LayerNormalization",
    "SkipLayerNormalization",
    "BiasGelu",
    "Gelu",
    "FastGelu",
)


def _fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    heads, width = _heads_and_width(model)
    with tempfile.TemporaryDirectory(prefix="fusion-") as scratch:
        path = Path(scratch) / MODEL_FILE
        onnx.save(model, path)
        with quiet():
            # Only the fusions themselves (level 0): the session's own optimizations happen at load, for the processor
            # that loads.
            optimizer = optimize_model(
                str(path),
                model_type="bert",
                num_heads=heads,
                hidden_size=width,
                optimization_options=FusionOptions("bert"),
                opt_level=0,
            )
            # Saving sorts the nodes and declares the operators' domain.
            optimizer.save_model_to_file(str(path))
        return graph.load(path.parent)


def _heads_and_width(model: onnx.ModelProto) -> tuple[int, int]:
    """Heads and the width of all heads, as far as the graph tells; 0 leaves it to the optimizer to find them.

    Exported encoders split the width by a Reshape to (batch, sequence, -1, head size): the optimizer sees only the -1.
    """
    constants = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.dims in ([], [1])
    }
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], numpy_helper.to_array(a.t)) for a in node.attribute if a.name == "value")
    shapes = {node.output[0]: node for node in model.graph.node if node.op_type == "Concat" and len(node.input) == 4}
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if len(tensor.dims) == 1}
    sums = {node.output[0]: node for node in model.graph.node if node.op_type == "Add"}
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Reshape" else None
        projected = sums.get(node.input[0]) if shape is not None else None
        if shape is None or projected is None:
            continue
        widths = [sizes[name] for name in projected.input if name in sizes]
        count, size = (constants.get(name) for name in shape.input[2:])
        if widths and count is not None and size is not None and count.size == size.size == 1:
            head = int(size.ravel()[0])
            if int(count.ravel()[0]) == -1 and head > 0 and widths[0] % head == 0:
                return widths[0] // head, int(widths[0])
    return 0, 0
