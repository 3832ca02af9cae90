"""Which tokens a tokenizer needs to read every text, and a tokenizer of fewer tokens. Pure, over tokenizer.json.

WordPiece, byte-pair and unigram tokenizers. A WordPiece word is read by the longest pieces, so single characters at the
start and inside of a word suffice; a byte-pair token is merged from others, so these stay with it. Unigram takes the
most probable pieces: what reads the training texts still does so when others go, and single characters read the rest.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kaon_jobs.errors import TechniqueFailed

Description = dict[str, Any]


def token_ids(description: Description) -> dict[str, int]:
    """Every token with its number, added ones included.

    Raises:
        TechniqueFailed: another kind of tokenizer.
    """
    kind = description["model"]["type"]
    if kind not in ("WordPiece", "BPE", "Unigram"):
        raise TechniqueFailed(f"tokens of a {kind} tokenizer cannot be left out; WordPiece's, BPE's and Unigram's can")
    return {**_numbers(description["model"]), **{item["content"]: item["id"] for item in _added(description)}}


def _numbers(model: Description) -> dict[str, int]:
    """The tokens of the model itself."""
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _added(description: Description) -> list[Description]:
    return list(description.get("added_tokens", []))


def kept_tokens(description: Description, used: set[str]) -> set[str]:
    """The used tokens with all that must stay beside them: special ones, single characters, what others are made of."""
    model = description["model"]
    special = {item["content"] for item in _added(description)}
    special |= {model["unk_token"]} if model.get("unk_token") else set()
    if model["type"] == "WordPiece":
        return used | special | _characters(model)
    if model["type"] == "Unigram":
        return used | special | _unigram_characters(model)
    return used | special | _merged_from(model, used)


def _unigram_characters(model: Description) -> set[str]:
    pieces = [piece for piece, _ in model["vocab"]]
    alone = {piece for piece in pieces if len(piece) == 1}
    unknown = set() if model.get("unk_id") is None else {pieces[model["unk_id"]]}
    # A character with no piece of its own can only be read as part of these.
    rest = {piece for piece in pieces if piece.startswith("<0x") or not alone.issuperset(piece)}
    return alone | unknown | rest


def _characters(model: Description) -> set[str]:
    prefix = model["continuing_subword_prefix"]
    alone, inside = set(), set()
    for token in model["vocab"]:
        text = token.removeprefix(prefix) if token != prefix else token
        if len(text) == 1:
            (inside if token.startswith(prefix) and token != prefix else alone).add(text)
    kept = alone | {prefix + character for character in inside}
    for token in model["vocab"]:
        continues = token.startswith(prefix) and token != prefix
        text = token.removeprefix(prefix) if continues else token
        first, rest = ("", text) if continues else (text[0], text[1:])
        # A character with no piece of its own at this place can only be read as part of this one.
        if (first and first not in alone) or any(character not in inside for character in rest):
            kept.add(token)
    return kept


def _merged_from(model: Description, used: set[str]) -> set[str]:
    parts = {"".join(pair): pair for pair in _pairs(model)}
    kept: set[str] = {token for token in model["vocab"] if len(token) == 1 or token.startswith("<0x")}
    waiting = list(used)
    while waiting:
        token = waiting.pop()
        if token not in kept:
            kept.add(token)
            waiting.extend(part for part in parts.get(token, ()) if part in model["vocab"])
    return kept


def _pairs(model: Description) -> Iterable[tuple[str, str]]:
    for merge in model["merges"]:
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        yield left, right


def remapped(description: Description, order: Sequence[str]) -> Description:
    """The tokenizer of these tokens alone, numbered in this order."""
    numbers = {token: number for number, token in enumerate(order)}
    made = copy.deepcopy(description)
    model = made["model"]
    known = _numbers(description["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][known[token]] for token in order if token in known]
        if model.get("unk_id") is not None:
            model["unk_id"] = numbers[description["model"]["vocab"][model["unk_id"]][0]]
    else:
        model["vocab"] = {token: numbers[token] for token in order if token in known}
    if model["type"] == "BPE":
        model["merges"] = [
            [left, right]
            for left, right in _pairs(description["model"])
            if left in model["vocab"] and right in model["vocab"] and left + right in model["vocab"]
        ]
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
