"""Export of a network over images to ONNX, and the proof that the export answers like the network.

One float32 file: values from 0 to 255 [images, channels, height, width] in, scores [images, classes] out; what the
network needs of them, less the mean and by the deviation, is in the graph. Eager attention and the tracing exporter, as
for texts (learn/export.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.export import OPSET, PARITY_TOLERANCE, Parity
from kaon_jobs.learn.images.pixels import Scale
from kaon_jobs.predict.onnx_image import OnnxImageModel

PARITY_IMAGES = 128
_BATCH = 16


class _Scores(torch.nn.Module):
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, model: torch.nn.Module, scale: Scale) -> None:
        super().__init__()
        self.model = model
        mean, deviation = scale.tensors()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.model(pixel_values=(image - self.mean) / self.deviation)["logits"]
        return scores


def export_images(model: torch.nn.Module, scale: Scale, shape: tuple[int, int, int], path: Path) -> None:
    """Writes the network as one ONNX file. Leaves it on the CPU, in evaluation mode, with eager attention.

    Args:
        shape: channels, height and width of an image.
    """
    own: Any = model
    own.to("cpu").float().eval()
    if hasattr(own, "set_attn_implementation"):
        own.set_attn_implementation("eager")
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of its deprecation and of every Python branch on a shape; parity is checked on real images.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Scores(model, scale).eval(),
            (torch.rand(2, *shape) * 255,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )
    graph = onnx.load(path)
    # Shapes recorded of the traced example mislead quantisation.
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def answers_of_both(
    model: torch.nn.Module, scale: Scale, exported: OnnxImageModel, files: Sequence[bytes]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scores [images, classes] of the network and of its export."""
    theirs, ours = [], []
    scores = _Scores(model, scale).eval()
    with torch.no_grad():
        for start in range(0, len(files), _BATCH):
            inputs = exported.encode(files[start : start + _BATCH])
            ours.append(exported.run(inputs))
            (values,) = inputs.values()
            theirs.append(scores(torch.from_numpy(values)).numpy())
    return np.concatenate(theirs), np.concatenate(ours)


def check_parity(model: torch.nn.Module, scale: Scale, exported: OnnxImageModel, files: Sequence[bytes]) -> Parity:
    """Asks both the same images, in batches and the first one alone.

    Raises:
        StageFailure: ParityFailed, with the figures.
    """
    pairs = [answers_of_both(model, scale, exported, part) for part in (files[:PARITY_IMAGES], files[:1])]
    trained, served = (np.concatenate(part) for part in zip(*pairs, strict=True))
    difference = float(np.abs(trained - served).max())
    allowed = PARITY_TOLERANCE * max(1.0, float(np.abs(trained).max()))
    # A row that lies on the fence may fall to either side by rounding.
    top = np.sort(trained, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * allowed
    agree = trained.argmax(axis=1) == served.argmax(axis=1)
    if not difference <= allowed or not agree[clear].all():
        raise StageFailure(
            "ParityFailed",
            f"the exported model is not the trained one: over {len(trained)} images scores differ by up to "
            f"{difference:.3g} (allowed {allowed:.3g}) and {agree.mean():.1%} of the labels agree. The base model's "
            "architecture does not export faithfully; use another one",
        )
    return Parity(len(trained), difference, float(agree.mean()))
