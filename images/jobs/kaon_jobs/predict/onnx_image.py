"""A classifier of images as it is served: JPEG or PNG files in, probabilities out. No torch.

Files become pixels by the very code that a server runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaon_jobs.predict.onnx_model import MODEL_FILE, Floats, Inputs, OnnxModel
from kaon_jobs.runtime.image import ImageReader


class OnnxImageModel(OnnxModel):
    """Files, or the pixels that were read of them, in; probabilities out."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        super().__init__(directory, threads, model_file=model_file)
        if self.card.image is None:
            raise ValueError(f"{directory}: the card of a model of images does not say what it reads of one")
        self.reader = ImageReader(self.card.image.wire())

    def encode(self, examples: Sequence[bytes | Floats]) -> Inputs:
        """The model's one input, images first: values from 0 to 255."""
        (name,) = self.input_names
        return {name: self.reader.numbers(examples)}

    def grouped(self, examples: Sequence[bytes | Floats]) -> list[int]:
        """As they come: all are read as one shape."""
        return list(range(len(examples)))
