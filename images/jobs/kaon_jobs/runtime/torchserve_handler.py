"""TorchServe's handler: speaks the V2 protocol, so that TorchServe and Triton answer alike. Laid out by fetch.

TorchServe batches and schedules; this file turns a batch of requests into one call of the predictor.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import v2
from predictor import FAILED, Predictor

PURPOSE_HEADER = "x-kaon-request"
"""Set by the router, never by a client: `ready` and `metadata` are answered here, TorchServe has no such paths."""
PLATFORM = "onnxruntime_onnx"

log = logging.getLogger(__name__)


class Handler:
    """The one class of this module, which is how TorchServe finds it."""

    def initialize(self, context: Any) -> None:
        """Load the predictor from the unpacked archive."""
        self._predictor = Predictor(Path(context.system_properties["model_dir"]))
        self._model: str = context.model_name
        # A class that was never answered is 0, and not unknown.
        self._count(dict.fromkeys(self._predictor.counted, 0), context)

    def handle(self, data: list[Any], context: Any) -> list[Any]:
        """One answer for each request of the batch. A request that cannot be read gets status 400 and says why, and one
        that the model fails on 500; the others are answered."""
        answers: list[Any] = [None] * len(data)
        accepted: list[tuple[int, v2.Inference]] = []
        read: list[list[Any]] = []
        for index, item in enumerate(data):
            purpose = context.get_request_header(index, PURPOSE_HEADER)
            if purpose is not None:
                answers[index] = self._about(purpose, context.model_name)
                continue
            try:
                # Bytes, as long as config.properties says decode_input_request=false.
                body = item.get("body") or item.get("data") or b""
                inference = v2.parse(body, self._predictor.signature, self._predictor.max_batch_size)
                rows = self._predictor.read(inference.rows)
            except v2.Refusal as refusal:
                context.set_response_status(code=400, phrase="Bad Request", idx=index)
                answers[index] = json.dumps({"error": str(refusal)})
                continue
            accepted.append((index, inference))
            read.append(rows)
        found = self._predictor.each(read) if accepted else []
        answered: list[tuple[str | None, np.ndarray]] = []
        for (index, inference), rows in zip(accepted, found, strict=True):
            if isinstance(rows, BaseException):
                log.error("the model fails on a request: %s", type(rows).__name__)
                context.set_response_status(code=500, phrase="Internal Server Error", idx=index)
                answers[index] = json.dumps({"error": FAILED})
                continue
            answered.append((inference.request_id, rows))
            values = {name: array.reshape(-1).tolist() for name, array in self._predictor.tensors(rows).items()}
            answers[index] = json.dumps(v2.answer(context.model_name, inference, self._predictor.signature, values))
        for index in range(len(data)):
            context.set_response_content_type(index, "application/json")
        self._count(self._predictor.counts(answered), context)
        return answers

    def _count(self, counts: dict[str, int], context: Any) -> None:
        """Add to the counter, which metrics.yaml declares. TorchServe reads a line for each of these."""
        if counts:
            counter = context.metrics.get_metric(self._predictor.counter)
            for label, count in counts.items():
                counter.add_or_update(count, [self._model, label])

    def _about(self, purpose: str, model: str) -> str:
        # To answer at all proves that a worker is ready.
        return json.dumps(v2.metadata(model, PLATFORM, self._predictor.signature)) if purpose == "metadata" else ""
