"""Triton's python backend: `text` in, `label` and `probabilities` out. Laid out as <model>/1/model.py by fetch.

Triton batches and schedules; this file only turns requests into one call of the classifier and its rows into responses.
"""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb
from classifier import Classifier


class TritonPythonModel:
    """The class that the python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the classifier from this version's folder."""
        self._classifier = Classifier(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: list) -> list:
        """Answer the requests of one dynamic batch; a request that cannot be read gets its own error."""
        answers: list = [None] * len(requests)
        texts: list[str] = []
        spans: list[tuple[int, int, int]] = []
        for index, request in enumerate(requests):
            try:
                own = [_text(value) for value in pb.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)]
            except UnicodeDecodeError as error:
                answers[index] = _refusal(f"input 'text' is not UTF-8: {error}")
                continue
            spans.append((index, len(texts), len(texts) + len(own)))
            texts.extend(own)
        if texts:
            probabilities = self._classifier.probabilities(texts)
            labels = np.array(self._classifier.best(probabilities), dtype=np.object_).reshape(-1, 1)
            for index, start, end in spans:
                answers[index] = pb.InferenceResponse(
                    output_tensors=[
                        pb.Tensor("label", labels[start:end]),
                        pb.Tensor("probabilities", probabilities[start:end]),
                    ]
                )
        return answers


def _text(value: "bytes | str") -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _refusal(message: str) -> "pb.InferenceResponse":
    return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(message, pb.TritonError.INVALID_ARG))
