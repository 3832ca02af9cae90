"""What a base model's folder may hold: files, bytes, values of JSON. Imports nothing heavy; reads single files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaon.contract.budgets import Budgets
from kaon_jobs.budget import ByteCount, raising
from kaon_jobs.errors import StageFailure
from kaon_jobs.store.objectstore import Entry

MAX_JSON_BYTES = 16 * 1024**2
"""Of config.json and the other files of settings. The largest, with names of thousands of classes, have one."""
MAX_JSON_VALUES = 500_000
MAX_VOCABULARY_VALUES = 8_000_000
"""The largest vocabularies have a million tokens and as many merges of two."""
MAX_HEADER_BYTES = 32 * 1024**2
"""Of a file of weights: its list of tensors."""
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "added_tokens.json")


def check_listing(entries: Sequence[Entry], uri: str, budgets: Budgets) -> None:
    """Refuses a folder by its names and sizes, before anything of it is copied.

    Raises:
        StageFailure: ModelTooLarge.
    """
    if len(entries) > budgets.model_files:
        raise _too_large(uri, f"has more than {budgets.model_files:,} files", budgets.model_files, "model_files")
    for entry in entries:
        if is_vocabulary(entry.path) and entry.size > budgets.tokenizer_bytes:
            what = f"holds {entry.path} of {entry.size:,} bytes"
            raise _too_large(uri, what, budgets.tokenizer_bytes, "tokenizer_bytes")
        if entry.path.endswith(".json") and not is_vocabulary(entry.path) and entry.size > MAX_JSON_BYTES:
            raise StageFailure(
                "ModelTooLarge",
                f"The folder at {uri} holds {entry.path} of {entry.size:,} bytes, and {MAX_JSON_BYTES:,} is the limit. "
                "Leave the file out, if it is no part of the model, or upload the model's own.",
            )


def is_vocabulary(path: str) -> bool:
    """Whether a file of the folder holds a vocabulary, by its name."""
    return path in _VOCABULARIES or path.endswith(".model")


def copying(budgets: Budgets, scratch: Path) -> ByteCount:
    """The count of the bytes that are copied of the folder."""

    def too_many(uri: str, found: int) -> StageFailure:
        return _too_large(uri, f"has at least {found:,} bytes", budgets.model_bytes, "model_bytes")

    return ByteCount(budgets.model_bytes, too_many, scratch)


def check_values(path: Path, uri: str) -> None:
    """Refuses a file of JSON or lines with so many values that they would fill the memory.

    Raises:
        StageFailure: ModelTooLarge.
    """
    most = MAX_VOCABULARY_VALUES if is_vocabulary(path.name) else MAX_JSON_VALUES
    marks = b"\n" if path.suffix == ".txt" else b",[{"
    count = 0
    with path.open("rb") as file:
        while chunk := file.read(1024**2):
            count += sum(chunk.count(mark) for mark in marks)
            if count > most:
                raise StageFailure(
                    "ModelTooLarge",
                    f"{path.name} at {uri} holds more than {most:,} values, the limit. Upload the model's own.",
                )


def _too_large(uri: str, what: str, limit: int, field: str) -> StageFailure:
    return StageFailure(
        "ModelTooLarge",
        f"The folder at {uri} {what}, and {limit:,} is the limit. Leave out of it what is no part of the model, "
        f"{raising(field)}.",
    )
