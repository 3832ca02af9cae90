"""A text classifier as it is served: the tokenizer's file beside model and card. No torch.

Texts become tokens by the very code that a server runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from kaon_jobs.predict.onnx_model import MODEL_FILE, Inputs, OnnxModel, read_card
from kaon_jobs.runtime.text import encode
from kaon_jobs.runtime.text import load_tokenizer as load_served_tokenizer

TOKENIZER_FILE = "tokenizer.json"
BLOCK = 256
"""Texts whose tokens are held at once: a tokenizer keeps a hundred bytes for each, those that it cuts off included."""


class OnnxTextModel(OnnxModel):
    """Texts in, probabilities out."""

    def __init__(self, directory: Path, threads: int, *, model_file: str = MODEL_FILE) -> None:
        super().__init__(directory, threads, model_file=model_file)
        self.tokenizer = load_tokenizer(directory)

    def encode(self, examples: Sequence[str]) -> Inputs:
        """The model's inputs for one batch: cut to the model's length, padded to the longest text of the batch."""
        return encode(self.tokenizer, list(examples), self.input_names)

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
    if whole:
        tokenizer.no_truncation()
    yield from unpadded_ids(tokenizer, texts)


def unpadded_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of each text, cut where the tokenizer cuts, without padding. The tokenizer stays as it is."""
    unpadded = Tokenizer.from_str(tokenizer.to_str())
    unpadded.no_padding()
    for start in range(0, len(texts), BLOCK):
        yield from (encoding.ids for encoding in unpadded.encode_batch(list(texts[start : start + BLOCK])))


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model folder, which cuts at the model's length and pads to the longest text of a batch."""
    return load_served_tokenizer(directory / TOKENIZER_FILE, longest_of(directory))
