"""Rows from which ranges and sensitivities are learnt: a seeded draw of the training split, never of another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader

from kaon_jobs.predict.onnx_model import Inputs
from kaon_jobs.predict.onnx_text import load_tokenizer
from kaon_jobs.predict.opening import open_model
from kaon_jobs.runtime.text import encode

BATCH_ROWS = 16


class Calibration:
    """Training examples, and a seed that makes every draw of them the same draw."""

    def __init__(self, examples: Sequence[Any], seed: int) -> None:
        self._examples = list(examples)
        self.seed = seed

    def draw(self, count: int) -> list[Any]:
        """`count` examples, or all when there are fewer. A larger draw starts with the smaller one."""
        order = np.random.default_rng(self.seed).permutation(len(self._examples))
        return [self._examples[index] for index in order[:count]]


def batches(directory: Path, examples: Sequence[Any], input_names: Sequence[str]) -> list[Inputs]:
    """The examples as inputs of the model in `directory`."""
    if isinstance(examples[0], str):
        return _of_texts(directory, examples, input_names)
    model = open_model(directory, threads=1)
    return [model.encode(examples[start : start + BATCH_ROWS]) for start in range(0, len(examples), BATCH_ROWS)]


def _of_texts(directory: Path, texts: Sequence[str], input_names: Sequence[str]) -> list[Inputs]:
    """Rows of one length together, so that no padding is seen: it would pull the ranges of activations towards what no
    real row has."""
    tokenizer = load_tokenizer(directory)
    by_length: dict[int, list[Inputs]] = {}
    for text in texts:
        row = encode(tokenizer, [text], input_names)
        by_length.setdefault(row[input_names[0]].shape[1], []).append(row)
    made = []
    for _, rows in sorted(by_length.items()):
        for start in range(0, len(rows), BATCH_ROWS):
            part = rows[start : start + BATCH_ROWS]
            made.append({name: np.concatenate([row[name] for row in part]) for name in input_names})
    return made


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds batches to onnxruntime's calibration, which asks for them range by range."""

    def __init__(self, inputs: Sequence[Inputs]) -> None:
        self._inputs = inputs
        self.set_range(0, len(inputs))

    def __len__(self) -> int:
        return len(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """The part that get_next walks next."""
        self._rest = iter(self._inputs[start_index:end_index])

    def get_next(self) -> Inputs | None:
        """The next batch of the range, or None at its end."""
        return next(self._rest, None)
