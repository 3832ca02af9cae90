"""Opens an exported classifier by what its card says that it reads. No torch."""

from __future__ import annotations

from pathlib import Path

from kaon_jobs.predict.onnx_array import OnnxArrayClassifier
from kaon_jobs.predict.onnx_model import OnnxClassifier, read_card


def open_classifier(directory: Path, threads: int) -> OnnxClassifier:
    """The classifier of a directory, with a session of its own."""
    if not read_card(directory).reads_text:
        return OnnxArrayClassifier(directory, threads)
    # It brings the tokenizers, which a network does not need, and whose memory is none of a network's (memory.py).
    from kaon_jobs.predict.onnx_text import OnnxTextClassifier

    return OnnxTextClassifier(directory, threads)
