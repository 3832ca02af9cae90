"""Opens an exported model by what its card says that it reads. No torch."""

from __future__ import annotations

from pathlib import Path

from kaon_jobs.predict.onnx_array import OnnxArrayModel
from kaon_jobs.predict.onnx_history import OnnxHistoryModel
from kaon_jobs.predict.onnx_model import OnnxModel, read_card
from kaon_jobs.predict.onnx_table import OnnxTableModel


def open_model(directory: Path, threads: int) -> OnnxModel:
    """The model of a directory, with a session of its own."""
    reads = read_card(directory).reads
    if reads == "table":
        return OnnxTableModel(directory, threads)
    if reads == "image":
        # Pillow is no library of the others, and its memory none of theirs (memory.py).
        from kaon_jobs.predict.onnx_image import OnnxImageModel

        return OnnxImageModel(directory, threads)
    if reads == "history":
        return OnnxHistoryModel(directory, threads)
    if reads == "array":
        return OnnxArrayModel(directory, threads)
    # It brings the tokenizers, which a network does not need, and whose memory is none of a network's (memory.py).
    from kaon_jobs.predict.onnx_text import OnnxTextModel

    return OnnxTextModel(directory, threads)
