"""Triton's python backend: `text` in, `label` and `probabilities` out. Laid out as <model>/1/model.py by fetch.

Triton batches and schedules; this file only turns requests into one call of the classifier and its rows into responses.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb
from classifier import Classifier

FAILED = "The model fails on these texts. Send others."

log = logging.getLogger(__name__)


class TritonPythonModel:
    """The class that the python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the classifier from this version's folder."""
        self._classifier = Classifier(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one dynamic batch; a request that cannot be read, or that the model fails on, gets its
        own error."""
        answers: list[Any] = [None] * len(requests)
        texts: list[list[str]] = []
        places: list[int] = []
        for index, request in enumerate(requests):
            try:
                own = [_text(value) for value in pb.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)]
            except UnicodeDecodeError as error:
                message = f"input 'text' is not UTF-8: byte {error.start + 1} of a text. Send it in UTF-8."
                answers[index] = _error(message, pb.TritonError.INVALID_ARG)
                continue
            places.append(index)
            texts.append(own)
        found = self._classifier.each(texts) if texts else []
        for index, rows in zip(places, found, strict=True):
            if isinstance(rows, BaseException):
                log.error("the model fails on a request: %s", type(rows).__name__)
                answers[index] = _error(FAILED, pb.TritonError.INTERNAL)
                continue
            labels = np.array(self._classifier.best(rows), dtype=np.object_).reshape(-1, 1)
            answers[index] = pb.InferenceResponse(
                output_tensors=[pb.Tensor("label", labels), pb.Tensor("probabilities", rows)]
            )
        return answers


def _text(value: "bytes | str") -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _error(message: str, code: int) -> "pb.InferenceResponse":
    return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(message, code))
