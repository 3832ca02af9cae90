"""Texts as the tokens that a model reads. Copied beside the model, which needs no Kaon then.

Imports only what a serving image has: numpy, tokenizers.
"""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

LONG = 16
"""Characters for each token that is kept, above which a text is cut before it is read."""

_WORD_END = re.compile(r"\S(?= )")
_LOCAL = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Nmt", "Precompiled", "Prepend"),
    "Strip",
}
_SPLIT_FURTHER = {"Digits", "Punctuation", "ByteLevel"}
"""They divide what others have divided, each piece by itself."""
# Of GPT-2, GPT-4 and Llama 3, and Qwen 2. None has an alternative that goes on from another character into a space.
_KNOWN_PATTERNS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
}


def load_tokenizer(path: Path, max_length: int) -> Tokenizer:
    """The tokenizer of an exported model: cuts at `max_length`, on the side on which training cut; pads to the longest
    text of a batch. Evaluation reads texts by this function too."""
    tokenizer = Tokenizer.from_file(str(path))
    cuts = tokenizer.truncation or {}
    tokenizer.enable_truncation(max_length=max_length, direction=cuts.get("direction", "right"))
    # Pads to the longest text of the batch, whatever the file says: a fixed length would cost every short text.
    recorded = tokenizer.padding or {}
    tokenizer.enable_padding(
        pad_id=recorded.get("pad_id", 0),
        pad_token=recorded.get("pad_token", "[PAD]"),
        pad_type_id=recorded.get("pad_type_id", 0),
        direction=recorded.get("direction", "right"),
        length=None,
    )
    return tokenizer


def cut(tokenizer: Tokenizer, text: str) -> str:
    """The beginning of a long text that has the same tokens, up to the length at which they are cut; or the whole text.

    A tokenizer reads a text to its end and then cuts: a megabyte takes a second, of which all but milliseconds are for
    nothing. Where words are read one by one, what stands in front of a space has the same tokens without what follows.
    """
    truncation = tokenizer.truncation
    if truncation is None or truncation["direction"] != "right" or len(text) <= LONG * truncation["max_length"]:
        return text
    if not reads_words_alone(tokenizer):
        return text
    length = LONG * truncation["max_length"] // 2
    while (end := _WORD_END.search(text, length)) is not None:
        beginning = text[: end.end()]
        if len(tokenizer.encode(beginning).ids) >= truncation["max_length"]:
            return beginning
        length = 2 * end.end()
    return text


@lru_cache(maxsize=16)
def reads_words_alone(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of the words in front of a space do not depend on what follows that space."""
    parts = json.loads(tokenizer.to_str())
    normalizers, splitters = _flat(parts["normalizer"], "normalizers"), _flat(parts["pre_tokenizer"], "pretokenizers")
    return (
        all(map(_is_local, normalizers))
        and all(part["type"] in _SPLIT_FURTHER or _splits_at_spaces(part) for part in splitters)
        and any(map(_splits_at_spaces, splitters))
        and not any(len(token["content"].split()) > 1 for token in parts["added_tokens"])
        and not parts["model"].get("dropout")
    )


def _flat(part: "dict[str, Any] | None", members: str) -> list[Any]:
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [one for member in part[members] for one in _flat(member, members)]
    return [part]


def _is_local(normalizer: dict[str, Any]) -> bool:
    """Whether it changes a word in the same way whatever stands behind the space that follows."""
    if normalizer["type"] != "Replace":
        return normalizer["type"] in _LOCAL
    pattern = normalizer["pattern"]
    text = pattern.get("String")
    return pattern.get("Regex") == " {2,}" or (text is not None and not any(map(str.isspace, text)))


def _splits_at_spaces(splitter: dict[str, Any]) -> bool:
    kind = splitter["type"]
    if kind == "Metaspace":
        return bool(splitter.get("split", True))
    if kind == "ByteLevel":
        return bool(splitter.get("use_regex", True))
    if kind == "Split":
        return splitter["pattern"].get("Regex") in _KNOWN_PATTERNS and not splitter["invert"]
    return kind in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")


def encode(tokenizer: Tokenizer, texts: list[str], names: Iterable[str]) -> "dict[str, np.ndarray]":
    """The model's inputs `names` for one batch of texts [texts, tokens]."""
    encodings = tokenizer.encode_batch([cut(tokenizer, text) for text in texts])
    tensors = {
        "input_ids": np.asarray([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.asarray([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        "token_type_ids": np.asarray([encoding.type_ids for encoding in encodings], dtype=np.int64),
    }
    if not tensors["input_ids"].shape[-1]:
        # Only empty texts, and a tokenizer that adds no tokens of its own: a model cannot read nothing.
        padding: Any = tokenizer.padding
        tensors = {
            "input_ids": np.full((len(texts), 1), padding["pad_id"], dtype=np.int64),
            "attention_mask": np.zeros((len(texts), 1), dtype=np.int64),
            "token_type_ids": np.full((len(texts), 1), padding["pad_type_id"], dtype=np.int64),
        }
    # A text without tokens is read as one padding token, alone or beside others.
    tensors["attention_mask"][tensors["attention_mask"].sum(axis=1) == 0, 0] = 1
    return {name: tensor for name, tensor in tensors.items() if name in names}
