"""What a value of a file is as text, or why it is none. Pure.

A list, an object or bytes never become Python's notation of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

BAD_BYTES = "\udcff"
"""Stands in decoded text where bytes could not be decoded. No decoder yields it: it is half a surrogate pair."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_WHOLE = re.compile(r"([+-]?(?:0|[1-9][0-9]*))(\.0+)?")
_KINDS: dict[type, str] = {list: "a list", tuple: "a list", dict: "an object", bytes: "bytes"}


class NotText(ValueError):
    """A value is no text and no number. The message goes after the column's name."""


def as_text(value: Any) -> str | None:
    """The text of a value, stripped; None for a missing one.

    Texts, numbers and booleans have a text, bytes too if they are UTF-8. The whole number 1 and the float 1.0 are one.
    Half surrogate pairs stay in it: `repaired` mends them.

    Raises:
        NotText: the value is something else.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise NotText(f"bytes that are not UTF-8 from byte {error.start + 1} on, expected text") from error
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise NotText("an infinite number, expected a finite one or text")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Decimal):
        value = f"{value.normalize():f}"
    if isinstance(value, int | float):
        try:
            return str(value)
        except ValueError as error:
            raise NotText("a number of thousands of digits, expected text") from error
    if not isinstance(value, str):
        raise NotText(f"{kind_of(value)}, expected text")
    if "\0" in value:
        raise NotText("text with the character U+0000, which no text has")
    return value.strip() or None


def kind_of(value: Any) -> str:
    """What a value is, for people."""
    kind: type = type(value)
    return _KINDS.get(kind, f"a {kind.__name__}")


def repaired(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which is no character and cannot be written."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def one_spelling(labels: Sequence[str | None], given: Iterable[str]) -> dict[str, str]:
    """For labels that are the same whole number in several spellings, such as 1 and 1.0: spelling -> the one to use.

    Only where every label is a number; with leading zeros (007) or decimals (1.10) a label stays as it is. A spelling
    that is among the `given` classes wins, else the one without decimals. A label with one spelling is left alone.
    """
    found = {label for label in labels if label is not None}
    classes = set(given)
    if not all(map(_NUMBER.fullmatch, found)):
        return {}
    spellings: dict[Decimal, set[str]] = {}
    for label in found | classes:
        if whole := _WHOLE.fullmatch(label):
            spellings.setdefault(Decimal(whole[1]) or Decimal(0), set()).add(label)
    changed: dict[str, str] = {}
    for number, same in spellings.items():
        wanted = sorted(same & classes)
        if len(same) > 1 and len(wanted) < 2:
            changed.update(dict.fromkeys(same, wanted[0] if wanted else f"{number:f}"))
    return {label: text for label, text in changed.items() if label != text}
