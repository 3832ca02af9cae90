"""How long a text is, in words; in scripts that are written without spaces each character counts as one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc\u31f0-\u31ff"  # Japanese syllables and signs
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "\uff66-\uff9f"  # half-width Japanese syllables
)
"""The inside of a character class of regular expressions."""
# Vowels and tones that stand above or below a character are no characters of their own.
_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u0f0b\u0f18-\u0f19\u0f35\u0f37\u0f39\u0f71-\u0f84"
    "\u0f8d-\u0fbc\u102b-\u103e\u1056-\u1059\u105e-\u1060\u17b4-\u17d3\u17dd"
)
_PUNCTUATION = "\u3000-\u3004\u3008-\u3020\u3030\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\u00b7\u2026"
_SAMPLED = 2000
_ANY_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(rf"(?![{_MARKS}])[{UNSPACED}]|[^\s{UNSPACED}{_PUNCTUATION}]+")


def is_unspaced(text: str) -> bool:
    """Whether at least a third of the text's characters, spaces apart, are of scripts without spaces."""
    written = len(text) - sum(map(str.isspace, text))
    return 3 * sum(1 for _ in _ANY_UNSPACED.finditer(text)) >= max(1, written)


def are_unspaced(texts: Sequence[str]) -> bool:
    """Whether that holds of the texts together, by up to some thousands of them."""
    return is_unspaced("".join(texts[:: max(1, len(texts) // _SAMPLED)]))


def count_words(text: str) -> int:
    """The number of words. Where nothing is of such a script, as many as `str.split` finds."""
    if text.isascii() or not _ANY_UNSPACED.search(text):
        return len(text.split())
    return sum(1 for _ in _WORD.finditer(text))
