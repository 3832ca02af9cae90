"""Folders of base models that cost more than they hold, one function a kind. Each changes a folder of a tiny BERT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1024**2


def _changed(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def _config(folder: Path, **values: Any) -> None:
    _changed(folder, "config.json", lambda content: content.update(values))


def _as_it_is(folder: Path) -> None:
    """Has the tokenizer read as its file says; BERT's own class knows its patterns itself."""
    _changed(folder, "tokenizer_config.json", lambda content: content.update(tokenizer_class="PreTrainedTokenizerFast"))


def _pattern(folder: Path, pattern: str) -> None:
    _as_it_is(folder)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    _changed(folder, "tokenizer.json", lambda content: content.update(pre_tokenizer=split))


def _sparse(folder: Path, tensors: dict[str, list[int]]) -> None:
    """Weights of zeros that take no room on a disk."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def large_vocabulary(folder: Path) -> None:
    """A table of a terabyte."""
    _config(folder, vocab_size=10**10)


def many_layers(folder: Path) -> None:
    """Layers without end."""
    _config(folder, num_hidden_layers=10**9)


def many_positions(folder: Path) -> None:
    """A table of positions that is computed number by number while the model is built."""
    _config(folder, model_type="roformer", architectures=["RoFormerModel"], max_position_embeddings=10**7)


def exponential_pattern(folder: Path) -> None:
    """A pattern that tries every way to divide a word."""
    _pattern(folder, r"(?:a+)+\?|(?:a+)+#|(?:a+)+%")


def quadratic_pattern(folder: Path) -> None:
    """A pattern that begins again at each character of a word."""
    _pattern(folder, r"(?:[a-z]*[a-z]*)*[a-z]*1|\s+")


def slow_replacement(folder: Path) -> None:
    """The same in a normalizer."""
    _as_it_is(folder)
    replace = {"type": "Replace", "pattern": {"Regex": r"(?:x+x+)+y"}, "content": ""}
    _changed(folder, "tokenizer.json", lambda content: content.update(normalizer=replace))


def deep_settings(folder: Path) -> None:
    """JSON a hundred thousand lists deep."""
    (folder / "special_tokens_map.json").write_text("[" * 100_000)


def wide_settings(folder: Path) -> None:
    """JSON of empty lists."""
    (folder / "special_tokens_map.json").write_text("[[]" + ",[]" * 2_000_000 + "]")


def large_settings(folder: Path) -> None:
    """Settings of a gigabyte."""
    with (folder / "generation_config.json").open("wb") as file:
        file.truncate(1024 * MIB)


def large_vocabulary_file(folder: Path) -> None:
    """A vocabulary of a gigabyte."""
    with (folder / "vocab.txt").open("wb") as file:
        file.truncate(1024 * MIB)


def many_files(folder: Path) -> None:
    """Files without end."""
    for number in range(1001):
        (folder / f"{number}.txt").write_text("x")


def large_header(folder: Path) -> None:
    """A list of tensors of ninety megabytes."""
    with (folder / "model.safetensors").open("wb") as file:
        file.write((90 * MIB).to_bytes(8, "little"))
        file.truncate(200 * MIB)


def more_than_memory(folder: Path) -> None:
    """A model whose weights fit into the pod, and whose training does not."""
    config = json.loads((folder / "config.json").read_text())
    rows, width = 6_000_000, config["hidden_size"]
    _config(folder, vocab_size=rows)
    _sparse(folder, {"embeddings.word_embeddings.weight": [rows, width], **{f"x{n}": [1] for n in range(100)}})


BOMBS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "vocabulary": (large_vocabulary, "ModelTooLarge", "bytes of float32 weights"),
    "layers": (many_layers, "ModelWeightsMismatch", "1,000,000,000 layers"),
    "positions": (many_positions, "ModelWeightsMismatch", "describes 320,142,860 bytes of float32 weights"),
    "an exponential pattern": (exponential_pattern, "TokenizerUnusable", "pre_tokenizer.pattern in tokenizer.json"),
    "a quadratic pattern": (quadratic_pattern, "TokenizerUnusable", "pre_tokenizer.pattern in tokenizer.json"),
    "a pattern of a normalizer": (slow_replacement, "TokenizerUnusable", "normalizer.pattern in tokenizer.json"),
    "depth of settings": (deep_settings, "ModelUnreadable", "special_tokens_map.json"),
    "values of settings": (wide_settings, "ModelTooLarge", "special_tokens_map.json"),
    "bytes of settings": (large_settings, "ModelTooLarge", "generation_config.json of 1,073,741,824 bytes"),
    "bytes of a vocabulary": (large_vocabulary_file, "ModelTooLarge", "vocab.txt of 1,073,741,824 bytes"),
    "files": (many_files, "ModelTooLarge", "more than 1,000 files"),
    "a header": (large_header, "ModelTooLarge", "header of 94,371,840 bytes"),
    "memory": (more_than_memory, "ModelTooLarge", "to train them takes at least"),
}
"""Name -> what is changed, how the reason of the refusal begins, and what the refusal says."""
