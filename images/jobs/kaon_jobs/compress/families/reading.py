"""What a tokenizer's normalizer and pre-tokenizer can hand to its model: found by asking them. Pure.

A normalizer that lowers case never gives an upper-case letter; a pre-tokenizer that isolates Chinese characters never
gives one inside of a word. Pieces of such characters are in many vocabularies and cannot occur.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Set
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

Description = dict[str, Any]

_BLOCK = 1 << 14
"""Characters that are asked at once."""
_BEFORE = ("a", "\u00e9", "\u044f", "\u0627", "\u0e01", "\u3042", "\uac00", "\u6f22", "\u0301", "1", "_", "-", "!")
"""One character of each kind behind which another one may stand: letters of several scripts, a mark, a digit, signs."""


def _is_of_an_alphabet(code: int) -> bool:
    character = chr(code)
    if unicodedata.category(character) in ("Cn", "Co", "Cs"):
        return False
    return not unicodedata.name(character, "").startswith(("CJK UNIFIED", "HANGUL SYLLABLE", "TANGUT"))


_ALPHABETS = frozenset(chr(code) for code in range(0x20000) if _is_of_an_alphabet(code))
"""Characters that a normalizer may make others of: all but the large tables of Han and Hangul."""


class Reading:
    """Which characters can stand in the words that a tokenizer's model is given, and which of them inside."""

    def __init__(self, normalizer: Description | None, pre_tokenizer: Description | None) -> None:
        nothing: Description = {"type": "BPE", "vocab": {}, "merges": [], "dropout": None, "unk_token": None}
        described: Description = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": None,
            "decoder": None,
            "model": nothing,
        }
        self._tokenizer = Tokenizer.from_str(json.dumps(described))

    def possible(self, characters: Set[str]) -> set[str]:
        """Those of the characters that can occur at all: something becomes them."""
        # A Han character, or a syllable of Hangul, becomes of no other than itself, and these are most of all.
        sources = sorted(characters | _ALPHABETS)
        return {character for word in self._words(sources) for character in word} & characters

    def possible_inside(self, characters: Set[str]) -> set[str]:
        """Those of the characters that can stand behind another one in a word."""
        found: set[str] = set()
        # None: behind itself, which is a context of its own (runs of digits, of dashes).
        for before in (None, *_BEFORE):
            words = self._words(f"{one if before is None else before}{one}" for one in sorted(characters - found))
            found |= {character for word in words for character in word[1:]}
        return found & characters

    def _words(self, texts: Iterable[str]) -> list[str]:
        """The words of these texts, asked in blocks with spaces between."""
        found: list[str] = []
        block: list[str] = []
        for text in texts:
            block.append(text)
            if len(block) == _BLOCK:
                found.extend(self._ask(" ".join(block)))
                block = []
        return [*found, *self._ask(" ".join(block))]

    def _ask(self, text: str) -> list[str]:
        normalizer, pre_tokenizer = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        normal = text if normalizer is None else normalizer.normalize_str(text)
        return [normal] if pre_tokenizer is None else [word for word, _ in pre_tokenizer.pre_tokenize_str(normal)]


def reading_of(description: Description) -> Reading:
    """The reading of a tokenizer.json."""
    return _reading(json.dumps(description.get("normalizer")), json.dumps(description.get("pre_tokenizer")))


@lru_cache(maxsize=4)
def _reading(normalizer: str, pre_tokenizer: str) -> Reading:
    return Reading(json.loads(normalizer), json.loads(pre_tokenizer))
