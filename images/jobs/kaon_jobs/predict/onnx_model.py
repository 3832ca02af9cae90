"""An exported model as it is served: model.onnx and card.json of one directory, run by onnxruntime. No torch.

The one way in which jobs ask an exported model: evaluation, golden examples and the compression search all go through
it, whatever the model reads. What it reads is an example: a text (onnx_text.py), a row of a table (onnx_table.py), a
history (onnx_history.py), the file of an image (onnx_image.py), or an array (onnx_array.py); its card tells which.
Starts no telemetry.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.contract.manifest import ModelCard
from kaon_jobs.predict.onnx_external import check_external_data
from kaon_jobs.runtime.graph import open_graph, softmax

MODEL_FILE = "model.onnx"
CARD_FILE = "card.json"
BATCH_SIZE = 32

Floats = NDArray[np.float32]
Row = tuple[float | str | None, ...]
"""A row of a table: a value for each column of the model's card.

None is a missing value. A point in time is written as ISO 8601.
"""
History = tuple[Sequence[str], str | None]
"""What a user has taken: names of items, the newest last; and the user's name, which counts where there are none."""
Example = str | Row | History | bytes | Floats
"""A text, a row of a table, a history, the file of an image, or an array such as the pixels that were read of it."""
Inputs = dict[str, NDArray[Any]]
"""One batch as the graph takes it: an array for each input, examples first."""


class OnnxModel(ABC):
    """Examples in, answers out. Each instance has a session of its own; its threads do not spin while idle."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        self.card = read_card(directory)
        self.labels = self.card.labels
        check_external_data(directory / model_file)
        self.session = open_graph(directory / model_file, threads)
        self.input_names = [item.name for item in self.session.get_inputs()]
        self.output_name = self.session.get_outputs()[0].name

    @abstractmethod
    def encode(self, examples: Sequence[Any]) -> Inputs:
        """The model's inputs for one batch."""

    @abstractmethod
    def grouped(self, examples: Sequence[Any]) -> list[int]:
        """The examples' numbers, in an order in which neighbours make good batches."""

    def logits(self, examples: Sequence[Any], batch_size: int = BATCH_SIZE) -> Floats:
        """What the graph says [examples, classes], in the order of `examples`; without classes [examples, 1]."""
        scores = np.zeros((len(examples), max(1, len(self.labels))), dtype=np.float32)
        order = self.grouped(examples)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            scores[rows] = self.run(self.encode([examples[row] for row in rows]))
        return scores

    def run(self, inputs: Inputs) -> Floats:
        """Scores of one encoded batch."""
        (scores,) = self.session.run([self.output_name], inputs)
        return np.asarray(scores, dtype=np.float32)

    def answers(self, examples: Sequence[Any], batch_size: int = BATCH_SIZE) -> Floats:
        """Probabilities [examples, classes]; of a model without classes its predictions [examples, 1]."""
        scores = self.logits(examples, batch_size)
        return softmax(scores) if self.labels else scores


def read_card(directory: Path) -> ModelCard:
    """The model card that lies beside a model."""
    return ModelCard.model_validate_json((directory / CARD_FILE).read_bytes())


def write_card(directory: Path, card: ModelCard) -> None:
    """Puts a model card beside a model."""
    (directory / CARD_FILE).write_text(json.dumps(card.wire(), indent=1, ensure_ascii=False), encoding="utf-8")
