"""The base model's tokenizer: loaded, held against its model, and measured on the rows that it will read.

A tokenizer that fits nothing fails in silence: it turns every text into unknown tokens, or into none. Reads the base
model's folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from kaon_jobs.errors import StageFailure
from kaon_jobs.pretrained.refusing import refusing

MAX_UNKNOWN = 0.25
"""Largest share of the rows' characters that the vocabulary may not know. An English vocabulary on English texts misses
less than a hundredth, emoji included; a cased one on capitals, or another language's, misses most of them."""
MEASURED_TEXTS = 2000
_MEASURED_CHARACTERS = 4000
"""Of one text."""
_LEAST_OF_VOCABULARY = 0.5
"""Tokens that a tokenizer knows, as a share of the rows of the model's embedding, at least. Tables are padded by some
per cent; a tokenizer that found no vocabulary knows its special tokens alone."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the real texts the vocabulary knows."""

    texts: int
    characters: int
    unknown: int
    """Characters, without spaces, that an unknown token stands for or that no token holds."""
    empty: int
    """Texts of which nothing is left but special tokens."""

    @property
    def share(self) -> float:
        """Unknown characters among all."""
        return self.unknown / self.characters if self.characters else 0.0


def load_tokenizer(directory: Path, config: PreTrainedConfig, uri: str) -> PreTrainedTokenizerBase:
    """The base model's fast tokenizer. One without a padding token pads with its end token.

    Raises:
        StageFailure: TokenizerUnusable.
    """
    names = {path.name for path in directory.iterdir()}
    if "vocab.json" in names and not names & {"tokenizer.json", "merges.txt"}:
        # The library would guess the merges from the vocabulary, and read texts otherwise than in pretraining.
        raise _unusable(f"{uri} has vocab.json without merges.txt, and both make the tokenizer. Upload merges.txt")
    refusal = partial(_not_loaded, directory, uri)
    with refusing(refusal):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            directory, config=config, local_files_only=True, trust_remote_code=False
        )
    if not getattr(tokenizer, "is_fast", False):
        raise _unusable(
            f"The tokenizer at {uri} is a {type(tokenizer).__name__}, which has no fast form, and serving needs a "
            "tokenizer.json. Use a base model with one"
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise _unusable(
                f"The tokenizer at {uri} has neither a padding token nor an end token. Set pad_token in "
                "tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    with refusing(refusal):
        _check_held(tokenizer, uri)
        _check_kind(tokenizer, directory, uri)
        _check_marks(tokenizer, uri)
        # It must be what a server can read again.
        Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()).encode("a")
    return tokenizer  # type: ignore[no-any-return]


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int, directory: Path, uri: str) -> None:
    """Holds the tokenizer against the rows of the model's embedding table.

    Raises:
        StageFailure: TokenizerUnusable.
    """
    known = tokenizer.get_vocab()
    beyond = [token for token, index in known.items() if index >= rows]
    if beyond:
        raise _unusable(
            f"The tokenizer at {uri} has {len(known):,} tokens and the model {rows:,}: {len(beyond):,} of them, such "
            f"as {beyond[0]!r}, lie outside of the model's table. {_files(directory)}: they are of another model, or "
            "they name tokens that the vocabulary lacks. Upload the tokenizer's files of this very model, or "
            "give the model rows for them with resize_token_embeddings(len(tokenizer)) and save it again"
        )
    if len(known) < _LEAST_OF_VOCABULARY * rows:
        raise _unusable(
            f"The tokenizer at {uri} knows {len(known):,} tokens, the model {rows:,}: its vocabulary was not found. "
            f"{_files(directory)}; {type(tokenizer).__name__} reads {_wanted(tokenizer)}. Upload the vocabulary that "
            "belongs to the model, and check model_type in config.json"
        )


def measure_coverage(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], directory: Path, uri: str) -> Coverage:
    """Reads evenly spaced texts as training does, and counts what the vocabulary does not know.

    Raises:
        StageFailure: TokenizerUnusable.
    """
    step = max(1, len(texts) // MEASURED_TEXTS)
    chosen = [text[:_MEASURED_CHARACTERS] for text in texts[::step]]
    backend: Any = tokenizer
    fast = Tokenizer.from_str(backend.backend_tokenizer.to_str())
    fast.no_truncation()
    fast.no_padding()
    with refusing(partial(_not_loaded, directory, uri)):
        encodings = fast.encode_batch(chosen, add_special_tokens=False)
    unknown_id = tokenizer.unk_token_id
    characters = unknown = empty = 0
    for text, encoding in zip(chosen, encodings, strict=True):
        known: set[int] = set()
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token != unknown_id:
                known.update(range(start, end))
        own = [place for place, character in enumerate(text) if not character.isspace() and character.isprintable()]
        characters += len(own)
        unknown += sum(place not in known for place in own)
        empty += bool(own) and not encoding.ids
    return Coverage(len(chosen), characters, unknown, empty)


def check_coverage(coverage: Coverage, uri: str) -> None:
    """Refuses a vocabulary that does not know the rows.

    Raises:
        StageFailure: VocabularyUnknown.
    """
    if coverage.share > MAX_UNKNOWN or coverage.empty > MAX_UNKNOWN * coverage.texts:
        raise StageFailure(
            "VocabularyUnknown",
            f"The vocabulary at {uri} does not know {coverage.share:.1%} of the characters of the Dataset's rows "
            f"({coverage.unknown:,} of {coverage.characters:,} in {coverage.texts:,} texts; {coverage.empty:,} texts "
            f"lose everything), and {MAX_UNKNOWN:.0%} is the limit. Check that the vocabulary belongs to the model and "
            "to the texts' language, and that do_lower_case in tokenizer_config.json is what the vocabulary needs.",
        )


def _check_kind(tokenizer: Any, directory: Path, uri: str) -> None:
    file = directory / "tokenizer.json"
    if not file.exists():
        return
    declared = json.loads(file.read_text(encoding="utf-8"))
    model = declared.get("model") if isinstance(declared, dict) else None
    in_file = model.get("type") if isinstance(model, dict) else None
    used = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    if in_file is not None and in_file != used:
        raise _unusable(
            f"tokenizer.json at {uri} holds a {in_file} vocabulary, but by config.json and tokenizer_config.json the "
            f"model is read by {type(tokenizer).__name__}, which is {used}: they do not belong together. Upload the "
            "tokenizer's files of this very model, or correct model_type in config.json"
        )


def _check_held(tokenizer: Any, uri: str) -> None:
    """The library stands the unknown token in for one that the vocabulary lacks, and looks for that one without end."""
    known = tokenizer.get_vocab()
    for field in ("unk_token", "pad_token"):
        token = getattr(tokenizer, field)
        if token is not None and str(token) not in known:
            raise _unusable(
                f"The tokenizer at {uri} has the {field} {str(token)!r}, which its vocabulary lacks. Name a token of "
                "the vocabulary in tokenizer_config.json, or upload the tokenizer's files of this very model"
            )


def _check_marks(tokenizer: Any, uri: str) -> None:
    special = set(tokenizer.all_special_tokens)
    marked = [token for token in tokenizer.get_vocab() if token.startswith("\ufeff") and token[1:] in special]
    if marked:
        raise _unusable(
            f"The vocabulary at {uri} has a byte-order mark in its token {marked[0][1:]!r}. Save the vocabulary as "
            "UTF-8 without a byte-order mark and make the tokenizer again"
        )


def _not_loaded(directory: Path, uri: str, cause: str) -> StageFailure:
    return _unusable(
        f"The tokenizer at {uri} cannot be loaded: {cause}. {_files(directory)}. Upload the tokenizer's files that "
        "belong to the model, best a tokenizer.json"
    )


def _files(directory: Path) -> str:
    names = [path.name for path in sorted(directory.iterdir()) if path.suffix in (".json", ".txt", ".model")]
    return f"The folder holds {', '.join(names[:12])}"


def _wanted(tokenizer: PreTrainedTokenizerBase) -> str:
    names = dict.fromkeys([*tokenizer.vocab_files_names.values(), "tokenizer.json"])
    return ", ".join(names)


def _unusable(message: str) -> StageFailure:
    return StageFailure("TokenizerUnusable", f"{message}.")
