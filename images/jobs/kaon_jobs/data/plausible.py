"""Under which encodings bytes that are not UTF-8 make plausible text. Pure.

East Asian encodings: nearly all characters have to be among the frequent ones that the encoding's own standard lists
first. Alphabets: all letters outside ASCII have to be of one language; where none is of ASCII, the language's most
frequent letters have to be frequent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise

# The names of the web's standard stand for what Windows writes under them.
_CODECS = {"utf-8": "utf-8-sig", "shift_jis": "cp932", "big5": "cp950", "euc-kr": "cp949"}
_FEW = 4
"""Characters outside ASCII below which nothing is guessed."""
_FREQUENT = 0.9
_NEARLY = 0.97
_FAR = 0.1
"""By how much the share of frequent characters has to lead."""

# Letters outside ASCII of languages that are written in windows-1252, then of those in windows-1250, -1254, -1257.
_LATIN: dict[str, tuple[str, ...]] = {
    "windows-1252": (
        "àâæçéèêëîïôœùûüÿ",  # French
        "äöüß",  # German
        "áéíóúüñªº",  # Spanish
        "áâãàçéêíóôõúüªº",  # Portuguese
        "àèéìíîòóùú",  # Italian
        "àçéèíïóòúü·",  # Catalan
        "æøåéèêóòâôü",  # Danish, Norwegian
        "åäöéèüà",  # Swedish, Finnish
        "áðéíóúýþæö",  # Icelandic
        "éëïöüèáóíê",  # Dutch
    ),
    "windows-1250": (
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîşţ",  # Romanian
        "čćđšž",  # Croatian, Slovene
        "äöüß",  # German
    ),
    "windows-1254": ("çğıöşüâîûİ",),  # Turkish; the small form of İ is two characters
    "windows-1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž"),  # Lithuanian, Latvian, Estonian
}
_SIGNS = set("“”„‘’‚–—…«»€£§°©®™·¡¿•\xa0´×½¼¾²³№")
_CYRILLIC = set("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўѓќџјљњћђ")
# Encoding -> the letters of its alphabet, the frequent ones of them, and the least share that these have.
_ALPHABETS: dict[str, tuple[set[str], set[str], float]] = {
    "windows-1251": (_CYRILLIC, set("оеаинтсрі"), 0.4),
    "koi8-r": (_CYRILLIC, set("оеаинтсрі"), 0.4),
    "windows-1253": (set("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ"), set("αοιετσνηυρ"), 0.5),
    "windows-1255": (set(map(chr, range(0x5D0, 0x5EB))), set("יוהלאתמרבש"), 0.6),
    "windows-1256": (set(map(chr, range(0x621, 0x653))), set("اليمونترب"), 0.5),
    "windows-874": (set(map(chr, range(0xE01, 0xE5B))), set("านรอกเงมยลวดทส่้ี"), 0.5),
}
_MIXED = re.compile(r"[A-Za-z][^\x00-\x7f]|[^\x00-\x7f][A-Za-z]")
_JOINED = 20
"""Letters of such an alphabet below which nothing is guessed."""
_DIFFERENT = 8
"""The same for different letters."""
_CAPITAL_INSIDE = re.compile(r"[а-яё][А-ЯЁ]")
# Signs that stand between words, and never inside of one.
_SIGN_INSIDE = re.compile(r"[^\W\d_][“”„‚«»€£§°©®™¡¿•×½¼¾²³№]+[^\W\d_]")
_UTF8_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}")
_ASIAN_SIGNS = set("，。！？、；：“”‘’（）《》〈〉【】「」『』…—～·￥　％＋－＝／＂＇")
_KANA = {chr(code) for code in (*range(0x3041, 0x3097), *range(0x30A1, 0x30FB), 0x30FC)}


def python_codec(encoding: str) -> str:
    """The codec of Python for a name of spec.encoding."""
    return _CODECS.get(encoding, encoding.replace("windows-", "cp"))


def plausible_codecs(sample: bytes, header: bytes, names: Iterable[str]) -> list[str]:
    """The encodings, by their name in spec.encoding, the likeliest first; empty when none is plausible.

    Args:
        sample: lines with bytes outside ASCII.
        header: the file's first line.
        names: column names that should be in it.
    """
    telling = [name for name in names if not name.isascii()]
    every = [*_EAST_ASIAN, *_ALPHABETS, *_LATIN]
    if telling:
        told = [codec for codec in every if all(name in _decoded(header, codec) for name in telling)]
        if len(told) == 1:
            return told
        every = told or every
    found = _east_asian(sample, [codec for codec in every if codec in _EAST_ASIAN])
    found += [codec for codec in every if codec in _ALPHABETS and _is_of_alphabet(sample, codec)]
    return found or [codec for codec in every if codec in _LATIN and _is_latin(sample, codec)]


def _east_asian(sample: bytes, codecs: list[str]) -> list[str]:
    shares: dict[str, float] = {}
    for codec in codecs:
        wide = [character for character in _decoded(sample, codec) if character > "\x7f"]
        if len(set(wide)) < _FEW:
            continue
        frequent = _EAST_ASIAN[codec]()
        shares[codec] = sum(character in frequent for character in wide) / len(wide)
        kana = sum(character in _KANA for character in wide) / len(wide)
        if codec in ("shift_jis", "euc-jp"):
            if kana > 0.3 and shares[codec] >= _FREQUENT:
                return [codec]
            if kana < 0.15:
                # No Japanese without its syllables; Chinese text would pass for it.
                shares[codec] = 0
        if codec == "euc-kr" and shares[codec] > 0.98 and len(set(wide)) >= 20:
            # Of twenty different Chinese characters one at least lies outside of where the Korean syllables do.
            return [codec]
    best = max(shares.values(), default=0)
    return sorted(codec for codec, share in shares.items() if share >= _FREQUENT and share > best - _FAR)


def _is_of_alphabet(sample: bytes, codec: str) -> bool:
    alphabet, frequent, least = _ALPHABETS[codec]
    text = _decoded(sample, codec)
    letters = Counter(character for character in text if character > "\x7f" and character not in _SIGNS)
    total = letters.total()
    return (
        total >= _JOINED
        and len({letter.lower() for letter in letters}) >= _DIFFERENT
        and all(letter.lower() in alphabet for letter in letters)
        and sum(count for letter, count in letters.items() if letter in frequent) >= least * total
        # Words of such a language hold no letters of ASCII. Accented Latin letters stand between these.
        and len(_MIXED.findall(text)) <= 0.05 * total
        # Encodings that differ in their capitals and a few letters put capitals inside of words.
        and len(_CAPITAL_INSIDE.findall(text)) <= 0.01 * total
    )


def _is_latin(sample: bytes, codec: str) -> bool:
    text = _decoded(sample, codec)
    wide = Counter(character for character in text if character > "\x7f")
    letters = Counter({character: count for character, count in wide.items() if character not in _SIGNS})
    total = letters.total()
    ascii_letters = sum(character.isalpha() and character.isascii() for character in text)
    if wide.total() < _FEW or total > 0.4 * (total + ascii_letters):
        return False
    if len(_UTF8_CHARACTER.findall(sample)) > 0.1 * wide.total() or any(map(_is_utf8, sample.splitlines())):
        # A part of the lines is UTF-8.
        return False
    capitals_inside = sum(
        before.islower() and letter > "\x7f" and letter.isupper() for before, letter in pairwise(text)
    )
    if len(_SIGN_INSIDE.findall(text)) + capitals_inside > 0.05 * wide.total():
        return False
    known = max(
        sum(count for letter, count in letters.items() if letter in alphabet or letter.lower() in alphabet)
        for alphabet in _LATIN[codec]
    )
    # A byte that was damaged must not speak against the right encoding, and so for a wrong one.
    return known >= _NEARLY * total


def _is_utf8(line: bytes) -> bool:
    """Whether a line holds characters of UTF-8, more than a capital before a no-break space can make by chance."""
    return len(_UTF8_CHARACTER.findall(line)) > 1 and _UTF8_CHARACTER.sub(b"", line).isascii()


def _decoded(data: bytes, codec: str) -> str:
    return data.decode(python_codec(codec), "replace")


def _table(codec: str, first: Iterable[int], second: Iterable[int]) -> set[str]:
    trails = list(second)
    pairs = (bytes((lead, trail)).decode(codec, "ignore") for lead in first for trail in trails)
    return {pair for pair in pairs if len(pair) == 1}


@cache
def _simplified() -> set[str]:
    # The other alphabets that stand in the same standards are rare there, and so must leave a doubt.
    return _table("gb2312", (0xA6, 0xA7, *range(0xB0, 0xD8)), range(0xA1, 0xFF)) | _ASIAN_SIGNS


@cache
def _traditional() -> set[str]:
    return _table("big5", range(0xA4, 0xC7), (*range(0x40, 0x7F), *range(0xA1, 0xFF))) | _ASIAN_SIGNS


@cache
def _japanese() -> set[str]:
    return _table("euc-jp", (0xA6, 0xA7, *range(0xB0, 0xD0)), range(0xA1, 0xFF)) | _KANA | _ASIAN_SIGNS


@cache
def _korean() -> set[str]:
    return _table("euc-kr", (0xA5, 0xAC, *range(0xB0, 0xC9)), range(0xA1, 0xFF)) | _ASIAN_SIGNS


_EAST_ASIAN: dict[str, Callable[[], set[str]]] = {
    "gb18030": _simplified,
    "big5": _traditional,
    "shift_jis": _japanese,
    "euc-jp": _japanese,
    "euc-kr": _korean,
}
