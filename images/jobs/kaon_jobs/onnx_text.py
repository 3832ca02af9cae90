"""A text classifier as it is served: the tokenizer's file beside model and card. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from kaon_jobs.onnx_model import MODEL_FILE, Inputs, OnnxClassifier, read_card

TOKENIZER_FILE = "tokenizer.json"
BLOCK = 256
"""Texts whose tokens are held at once: a tokenizer keeps a hundred bytes for each, those that it cuts off included."""


class OnnxTextClassifier(OnnxClassifier):
    """Texts in, probabilities out."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        super().__init__(directory, threads, model_file=model_file)
        self.tokenizer = load_tokenizer(directory)

    def encode(self, examples: Sequence[str]) -> Inputs:
        """The model's inputs for one batch: cut to the model's length, padded to the longest text of the batch."""
        encodings = self.tokenizer.encode_batch(list(examples))
        fields = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        return {name: np.asarray(fields[name], dtype=np.int64) for name in self.input_names}

    def grouped(self, examples: Sequence[str]) -> list[int]:
        """Texts of similar length together."""
        return sorted(range(len(examples)), key=lambda row: len(examples[row]))


def longest_of(directory: Path) -> int:
    """Tokens that the text classifier of a directory reads at most."""
    longest = read_card(directory).max_sequence_length
    if longest is None:
        raise ValueError(f"{directory}: the card of a text classifier names no maxSequenceLength")
    return longest


def token_rows(directory: Path, texts: Sequence[str], *, whole: bool = False) -> Iterator[list[int]]:
    """Token ids of each text, without padding, cut at the model's length unless they are wanted whole."""
    tokenizer = load_tokenizer(directory)
    tokenizer.no_padding()
    if whole:
        tokenizer.no_truncation()
    for start in range(0, len(texts), BLOCK):
        yield from (encoding.ids for encoding in tokenizer.encode_batch(list(texts[start : start + BLOCK])))


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model folder, which cuts at the model's length and pads to the longest text of a batch."""
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    tokenizer.enable_truncation(longest_of(directory))
    # The exported file carries the padding token; its length would be that of some batch in the past.
    recorded = tokenizer.padding or {}
    tokenizer.enable_padding(
        pad_id=recorded.get("pad_id", 0),
        pad_token=recorded.get("pad_token", "[PAD]"),
        pad_type_id=recorded.get("pad_type_id", 0),
        direction=recorded.get("direction", "right"),
    )
    return tokenizer
