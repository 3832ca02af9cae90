"""Which tokens a tokenizer needs to read every text, and a tokenizer of fewer tokens. Pure, over tokenizer.json.

WordPiece, byte-pair and unigram tokenizers. A WordPiece word is read by the longest pieces, so single characters at the
start and inside of a word suffice; a byte-pair token is merged from others, so these stay with it. Unigram takes the
most probable pieces: what reads the training texts still does so when others go, and single characters read the rest.
What the tokenizer can never be asked for (reading.py) does not stay, unless the texts hold it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kaon_jobs.compress.families.reading import Reading, reading_of
from kaon_jobs.errors import TechniqueFailed

Description = dict[str, Any]


class Pieces(Protocol):
    """The `model` of a tokenizer.json: its own tokens, added ones excepted."""

    def numbers(self) -> dict[str, int]:
        """Each token with its number."""

    def kept(self, used: set[str], reading: Reading) -> set[str]:
        """What must stay when these are used: single characters that can occur, and what others are made of."""

    def of(self, numbers: Mapping[str, int]) -> Description:
        """The model of these tokens alone, numbered like this."""


@dataclass(frozen=True, slots=True)
class WordPiece:
    """Longest piece first, pieces inside of a word marked by a prefix."""

    model: Description

    def numbers(self) -> dict[str, int]:
        """See Pieces."""
        return dict(self.model["vocab"])

    def kept(self, used: set[str], reading: Reading) -> set[str]:
        """See Pieces."""
        read = {token: self._read(token) for token in self.model["vocab"]}
        characters = {character for text, _ in read.values() for character in text}
        possible = reading.possible(characters)
        possible_inside = reading.possible_inside(characters)
        alone = {text for text, continues in read.values() if len(text) == 1 and not continues and text in possible}
        inside = {text for text, continues in read.values() if len(text) == 1 and continues and text in possible_inside}
        kept = used | alone | {self._prefix + character for character in inside}
        for token, (text, continues) in read.items():
            first, rest = ("", text) if continues else (text[:1], text[1:])
            if not possible.issuperset(first) or not possible_inside.issuperset(rest):
                continue  # no text makes the tokenizer ask for it
            # A character with no piece of its own at this place can only be read as part of this one.
            if not alone.issuperset(first) or not inside.issuperset(rest):
                kept.add(token)
        return kept

    def of(self, numbers: Mapping[str, int]) -> Description:
        """See Pieces."""
        return {**self.model, "vocab": _renumbered(self.numbers(), numbers)}

    @property
    def _prefix(self) -> str:
        return str(self.model["continuing_subword_prefix"])

    def _read(self, token: str) -> tuple[str, bool]:
        """What a token reads, and whether inside of a word."""
        continues = token.startswith(self._prefix) and token != self._prefix
        return (token.removeprefix(self._prefix) if continues else token), continues


@dataclass(frozen=True, slots=True)
class BytePairs:
    """Tokens merged from two others."""

    model: Description

    def numbers(self) -> dict[str, int]:
        """See Pieces."""
        return dict(self.model["vocab"])

    def kept(self, used: set[str], reading: Reading) -> set[str]:
        """See Pieces."""
        parts = {"".join(pair): pair for pair in self._pairs()}
        kept: set[str] = {token for token in self.model["vocab"] if len(token) == 1 or token.startswith("<0x")}
        waiting = list(used)
        while waiting:
            token = waiting.pop()
            if token not in kept:
                kept.add(token)
                waiting.extend(part for part in parts.get(token, ()) if part in self.model["vocab"])
        return kept

    def of(self, numbers: Mapping[str, int]) -> Description:
        """See Pieces."""
        vocabulary = _renumbered(self.numbers(), numbers)
        merges = [pair for pair in self._pairs() if vocabulary.keys() >= {*pair, "".join(pair)}]
        return {**self.model, "vocab": vocabulary, "merges": [list(pair) for pair in merges]}

    def _pairs(self) -> Iterable[tuple[str, str]]:
        for merge in self.model["merges"]:
            left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
            yield left, right


@dataclass(frozen=True, slots=True)
class Unigram:
    """Pieces with their logarithmic probabilities."""

    model: Description

    def numbers(self) -> dict[str, int]:
        """See Pieces."""
        return {piece: number for number, piece in enumerate(self._pieces)}

    def kept(self, used: set[str], reading: Reading) -> set[str]:
        """See Pieces."""
        possible = reading.possible({character for piece in self._pieces for character in piece})
        alone = {piece for piece in self._pieces if piece in possible}
        unknown = set() if self._unknown is None else {self._unknown}
        # A character with no piece of its own can only be read as part of these.
        rest = {
            piece
            for piece in self._pieces
            if piece.startswith("<0x") or (possible.issuperset(piece) and not alone.issuperset(piece))
        }
        return used | alone | unknown | rest

    def of(self, numbers: Mapping[str, int]) -> Description:
        """See Pieces."""
        # A piece's number is its place.
        own = sorted(
            (entry for entry in self.model["vocab"] if entry[0] in numbers), key=lambda entry: numbers[entry[0]]
        )
        unknown = {} if self._unknown is None else {"unk_id": numbers[self._unknown]}
        return {**self.model, "vocab": own, **unknown}

    @property
    def _pieces(self) -> list[str]:
        return [piece for piece, _ in self.model["vocab"]]

    @property
    def _unknown(self) -> str | None:
        number = self.model.get("unk_id")
        return None if number is None else self._pieces[number]


_KINDS: Mapping[str, Callable[[Description], Pieces]] = {
    "WordPiece": WordPiece,
    "BPE": BytePairs,
    "Unigram": Unigram,
}


def _pieces_of(description: Description) -> Pieces:
    kind = description["model"]["type"]
    if kind not in _KINDS:
        raise TechniqueFailed(f"tokens of a {kind} tokenizer cannot be left out; WordPiece's, BPE's and Unigram's can")
    return _KINDS[kind](description["model"])


def _renumbered(known: Mapping[str, int], numbers: Mapping[str, int]) -> dict[str, int]:
    return {token: number for token, number in numbers.items() if token in known}


def _added(description: Description) -> list[Description]:
    return list(description.get("added_tokens", []))


def token_ids(description: Description) -> dict[str, int]:
    """Every token with its number, added ones included.

    Raises:
        TechniqueFailed: another kind of tokenizer.
    """
    return {**_pieces_of(description).numbers(), **{item["content"]: item["id"] for item in _added(description)}}


def kept_tokens(description: Description, used: set[str]) -> set[str]:
    """The used tokens with all that must stay beside them: special ones, single characters, what others are made of."""
    special = {item["content"] for item in _added(description)}
    special |= {description["model"]["unk_token"]} if description["model"].get("unk_token") else set()
    return special | _pieces_of(description).kept(used, reading_of(description))


def remapped(description: Description, order: Sequence[str]) -> Description:
    """The tokenizer of these tokens alone, numbered in this order."""
    numbers = {token: number for number, token in enumerate(order)}
    made = copy.deepcopy(description)
    made["model"] = _pieces_of(made).of(numbers)
    for item in _added(made):
        item["id"] = numbers[item["content"]]
    if made.get("padding"):
        made["padding"]["pad_id"] = numbers[made["padding"]["pad_token"]]
    _renumber_processor(made.get("post_processor"), numbers)
    return made


def _renumber_processor(processor: Description | None, numbers: dict[str, int]) -> None:
    if processor is None:
        return
    for item in processor.get("special_tokens", {}).values() if processor["type"] == "TemplateProcessing" else ():
        item["ids"] = [numbers[token] for token in item["tokens"]]
    for field in ("sep", "cls"):
        if isinstance(processor.get(field), list):
            processor[field] = [processor[field][0], numbers[processor[field][0]]]
    for inner in processor.get("processors", []):
        _renumber_processor(inner, numbers)


def tokens_of(directory: Path) -> dict[str, str]:
    """The special tokens that the tokenizer's settings name, as plain strings."""
    path = directory / "tokenizer_config.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = {name: value for name, value in found.items() if name.endswith("_token")}
    return {name: value["content"] if isinstance(value, dict) else str(value) for name, value in named.items()}
