"""A model of tables as it is served: rows in, answers out. No torch.

Rows become numbers by the very code that a server runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaon_jobs.predict.onnx_model import MODEL_FILE, Inputs, OnnxModel, Row
from kaon_jobs.runtime.table import TableReader


class OnnxTableModel(OnnxModel):
    """Rows in, answers out."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        super().__init__(directory, threads, model_file=model_file)
        self.reader = TableReader([column.wire() for column in self.card.columns or []])

    def encode(self, examples: Sequence[Row]) -> Inputs:
        """The model's one input, rows first."""
        (name,) = self.input_names
        return {name: self.reader.numbers(examples)}

    def grouped(self, examples: Sequence[Row]) -> list[int]:
        """As they come: all are of one shape."""
        return list(range(len(examples)))
