"""A classifier of arrays as it is served: an image or a row of a table in, as numbers of one shape. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaon_jobs.predict.onnx_model import Floats, Inputs, OnnxModel


class OnnxArrayModel(OnnxModel):
    """Arrays in, probabilities out."""

    def encode(self, examples: Sequence[Floats]) -> Inputs:
        """The model's one input, examples first."""
        (name,) = self.input_names
        return {name: np.stack(examples).astype(np.float32, copy=False)}

    def grouped(self, examples: Sequence[Floats]) -> list[int]:
        """As they come: all are of one shape."""
        return list(range(len(examples)))
