"""An exported classifier as it is served: model.onnx and card.json of one directory, run by onnxruntime. No torch.

The one way in which jobs ask an exported model: evaluation, golden examples and the compression search all go through
it, whatever the model reads. What it reads is an example: a text (onnx_text.py), or an array (onnx_array.py);
classifier.py tells which. Starts no telemetry.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from kaon.contract.manifest import ModelCard
from kaon_jobs.predict.onnx_external import check_external_data

onnxruntime.disable_telemetry_events()

MODEL_FILE = "model.onnx"
CARD_FILE = "card.json"
BATCH_SIZE = 32

Floats = NDArray[np.float32]
Example = str | Floats
"""A text, or the numbers of one image or of one row of a table."""
Inputs = dict[str, NDArray[Any]]
"""One batch as the graph takes it: an array for each input, examples first."""


class OnnxClassifier(ABC):
    """Examples in, probabilities out. Each instance has a session of its own; its threads do not spin while idle."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        self.card = read_card(directory)
        self.labels = self.card.labels
        check_external_data(directory / model_file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Sessions that are timed in turns would otherwise burn each other's cores while they wait.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(directory / model_file), options, providers=["CPUExecutionProvider"]
        )
        self.input_names = [item.name for item in self.session.get_inputs()]

    @abstractmethod
    def encode(self, examples: Sequence[Any]) -> Inputs:
        """The model's inputs for one batch."""

    @abstractmethod
    def grouped(self, examples: Sequence[Any]) -> list[int]:
        """The examples' numbers, in an order in which neighbours make good batches."""

    def logits(self, examples: Sequence[Any], batch_size: int = BATCH_SIZE) -> Floats:
        """Raw scores [examples, classes], in the order of `examples`."""
        scores = np.zeros((len(examples), len(self.labels)), dtype=np.float32)
        order = self.grouped(examples)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            scores[rows] = self.run(self.encode([examples[row] for row in rows]))
        return scores

    def run(self, inputs: Inputs) -> Floats:
        """Scores of one encoded batch."""
        (scores,) = self.session.run(["logits"], inputs)
        return np.asarray(scores, dtype=np.float32)

    def probabilities(self, examples: Sequence[Any], batch_size: int = BATCH_SIZE) -> Floats:
        """Softmax of the scores [examples, classes]."""
        return softmax(self.logits(examples, batch_size))


def read_card(directory: Path) -> ModelCard:
    """The model card that lies beside a model."""
    return ModelCard.model_validate_json((directory / CARD_FILE).read_bytes())


def write_card(directory: Path, card: ModelCard) -> None:
    """Puts a model card beside a model."""
    (directory / CARD_FILE).write_text(json.dumps(card.wire(), indent=1, ensure_ascii=False), encoding="utf-8")


def softmax(scores: Floats) -> Floats:
    """Row-wise softmax that does not overflow."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
