"""A text classifier as it is served: model.onnx + tokenizer.json + card.json, run by onnxruntime. No torch.

The one way in which jobs ask an exported model: evaluation, golden examples and the compression search all go through
it. Reads the files of one directory; starts no telemetry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kaon.contract.manifest import ModelCard

onnxruntime.disable_telemetry_events()

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "card.json"

Floats = NDArray[np.float32]


class OnnxTextClassifier:
    """Texts in, probabilities out. Each instance has a session of its own; its threads do not spin while idle."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        self.card = read_card(directory)
        self.labels = self.card.labels
        self.tokenizer = load_tokenizer(directory, self.card.max_sequence_length)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Sessions that are timed in turns would otherwise burn each other's cores while they wait.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(directory / model_file), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [item.name for item in self.session.get_inputs()]

    def encode(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """The model's inputs for one batch: cut to the model's length, padded to the longest text of the batch."""
        encodings = self.tokenizer.encode_batch(list(texts))
        fields = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        return {name: np.asarray(fields[name], dtype=np.int64) for name in self._inputs}

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> Floats:
        """Raw scores [texts, classes], in the order of `texts`. Batches hold texts of similar length."""
        scores = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            scores[rows] = self.run(self.encode([texts[row] for row in rows]))
        return scores

    def run(self, inputs: dict[str, NDArray[np.int64]]) -> Floats:
        """Scores of one encoded batch."""
        (scores,) = self.session.run(["logits"], inputs)
        return np.asarray(scores, dtype=np.float32)

    def probabilities(self, texts: Sequence[str], batch_size: int = 32) -> Floats:
        """Softmax of the scores [texts, classes]."""
        return softmax(self.logits(texts, batch_size))


def read_card(directory: Path) -> ModelCard:
    """The model card that lies beside a model."""
    return ModelCard.model_validate_json((directory / CARD_FILE).read_bytes())


def load_tokenizer(directory: Path, max_sequence_length: int) -> Tokenizer:
    """The tokenizer of a model folder, which cuts at the model's length and pads to the longest text of a batch."""
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    tokenizer.enable_truncation(max_sequence_length)
    # The exported file carries the padding token; its length would be that of some batch in the past.
    recorded = tokenizer.padding or {}
    tokenizer.enable_padding(
        pad_id=recorded.get("pad_id", 0),
        pad_token=recorded.get("pad_token", "[PAD]"),
        pad_type_id=recorded.get("pad_type_id", 0),
        direction=recorded.get("direction", "right"),
    )
    return tokenizer


def softmax(scores: Floats) -> Floats:
    """Row-wise softmax that does not overflow."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
