"""A model that ranks items as it is served: what a user has taken in, the best other items out. No torch.

Rows become numbers, and scores become items, by the very code that a server runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kaon_jobs.predict.onnx_model import BATCH_SIZE, MODEL_FILE, Floats, History, Inputs, OnnxModel
from kaon_jobs.runtime.history import HistoryReader

ITEMS_FILE, USERS_FILE = "items.json", "users.npz"


class OnnxHistoryModel(OnnxModel):
    """Rows in, answers out."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        super().__init__(directory, threads, model_file=model_file)
        length, count = self.card.max_sequence_length, self.card.ranks
        if length is None or count is None:
            raise ValueError(f"{directory}: the card of a model that ranks items names no maxSequenceLength or ranks")
        self.reader = HistoryReader(directory / ITEMS_FILE, directory / USERS_FILE, length, count)

    def encode(self, examples: Sequence[History]) -> Inputs:
        """The model's one input, rows first."""
        (name,) = self.input_names
        return {name: self.reader.numbers(examples)}

    def grouped(self, examples: Sequence[History]) -> list[int]:
        """Histories of similar length together."""
        return sorted(range(len(examples)), key=lambda row: len(examples[row][0]))

    def answers(self, examples: Sequence[History], batch_size: int = BATCH_SIZE) -> Floats:
        """The best items [examples, 2 ranks]: their numbers, then their scores."""
        found = np.zeros((len(examples), 2 * self.reader.count), dtype=np.float32)
        order = self.grouped(examples)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            asked = [examples[row] for row in rows]
            found[rows] = self.reader.answers(asked, self.run(self.encode(asked)))
        return found


def write_catalogue(directory: Path, names: Sequence[str], histories: Mapping[str, NDArray[np.int64]]) -> None:
    """What a server needs beside the graph.

    Args:
        names: of the items, in the order of their numbers.
        histories: user -> the numbers of the items that they have taken, the newest last.
    """
    (directory / ITEMS_FILE).write_text(json.dumps(list(names), ensure_ascii=False), encoding="utf-8")
    starts = np.cumsum([0, *map(len, histories.values())])
    np.savez_compressed(
        directory / USERS_FILE,
        users=np.frombuffer(json.dumps(list(histories), ensure_ascii=False).encode(), np.uint8),
        starts=starts.astype(np.int64),
        items=np.concatenate([*histories.values(), np.zeros(0, np.int64)]).astype(np.int32),
    )


def catalogue_of(directory: Path) -> list[str]:
    """The names of the items that the model of a directory knows, in the order of their numbers."""
    names: list[str] = json.loads((directory / ITEMS_FILE).read_text(encoding="utf-8"))
    return names
