"""Triton's python backend: the signature's inputs in, its outputs out. Laid out as <model>/1/model.py by fetch.

Triton batches and schedules; this file only turns requests into one call of the predictor and its rows into responses.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb
from predictor import FAILED, Predictor
from v2 import Number, Refusal, value_of

log = logging.getLogger(__name__)


class TritonPythonModel:
    """The class that the python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the predictor from this version's folder."""
        self._predictor = Predictor(Path(args["model_repository"]) / args["model_version"])
        self._counters: dict[str, Any] = {}
        self._family: Any = None
        if self._predictor.counted:
            about = "Examples answered, by class."
            self._family = pb.MetricFamily(self._predictor.counter, about, pb.MetricFamily.COUNTER)
            for label in self._predictor.counted:
                if label not in self._counters:
                    told = {"model": args["model_name"], "label": label}
                    self._counters[label] = self._family.Metric(labels=told)

    def finalize(self) -> None:
        """Let the counters go before their family, as Triton asks for."""
        self._counters.clear()
        self._family = None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one dynamic batch; a request that cannot be read, or that the model fails on, gets its
        own error."""
        answers: list[Any] = [None] * len(requests)
        accepted: list[list[Any]] = []
        places: list[int] = []
        for index, request in enumerate(requests):
            try:
                rows = self._predictor.read(self._rows(request))
            except Refusal as refusal:
                answers[index] = _error(str(refusal), pb.TritonError.INVALID_ARG)
                continue
            places.append(index)
            accepted.append(rows)
        found = self._predictor.each(accepted) if accepted else []
        answered: list[tuple[str | None, np.ndarray]] = []
        for index, rows in zip(places, found, strict=True):
            if isinstance(rows, BaseException):
                log.error("the model fails on a request: %s", type(rows).__name__)
                answers[index] = _error(FAILED, pb.TritonError.INTERNAL)
                continue
            answered.append((requests[index].request_id(), rows))
            tensors = [pb.Tensor(name, values) for name, values in self._predictor.tensors(rows).items()]
            answers[index] = pb.InferenceResponse(output_tensors=tensors)
        for label, count in self._predictor.counts(answered).items():
            self._counters[label].increment(count)
        return answers

    def _rows(self, request: Any) -> list[Any]:
        """The request's texts, rows or images. The router has checked it, unless somebody has gone around it."""
        signature = self._predictor.signature
        columns: dict[str, list[Any]] = {}
        for name, kind in signature.kinds.items():
            # None where an optional input was left out.
            tensor = pb.get_input_tensor_by_name(request, name)
            if tensor is not None:
                given = tensor.as_numpy()
                values = [_value(name, kind, number, value) for number, value in enumerate(given.reshape(-1))]
                wide = given.shape[1] if name in signature.varying and given.ndim > 1 else 0
                columns[name] = [values[at : at + wide] for at in range(0, len(values), wide)] if wide else values
        if not columns:
            raise Refusal("The request has no input. Send one at least.")
        rows: list[Any] = signature.rows(columns)
        return rows


def _value(name: str, kind: str, number: int, value: "bytes | str | np.floating") -> float | str | bytes:
    if isinstance(value, bytes):
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"input '{name}' is not UTF-8: byte {error.start + 1} of value {number}. Send it in UTF-8."
            raise Refusal(message) from error
    else:
        text = value if isinstance(value, str) else Number(value)
    found: float | str | bytes = value_of(f"value {number} of input '{name}'", name, kind, text)
    return found


def _error(message: str, code: int) -> "pb.InferenceResponse":
    return pb.InferenceResponse(output_tensors=[], error=pb.TritonError(message, code))
