"""Opens an exported classifier by what its card says that it reads. No torch."""

from __future__ import annotations

from pathlib import Path

from kaon.contract.manifest import TEXT_TASK
from kaon_jobs.onnx_array import OnnxArrayClassifier
from kaon_jobs.onnx_model import OnnxClassifier, read_card
from kaon_jobs.onnx_text import OnnxTextClassifier


def open_classifier(directory: Path, threads: int) -> OnnxClassifier:
    """The classifier of a directory, with a session of its own."""
    kind = OnnxTextClassifier if read_card(directory).task == TEXT_TASK else OnnxArrayClassifier
    return kind(directory, threads)
