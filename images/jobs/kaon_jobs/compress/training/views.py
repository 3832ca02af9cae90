"""Views of training examples: other forms of them, on which a student learns what the teacher says off the rows that it
knows by heart. Pure, and the same each time.

Of texts: units are left out (the data augmentation of TinyBERT, Jiao et al. 2020, reduced to what needs no second
model). A unit is a word between spaces; in scripts that write without spaces it is what the tokenizer reads as a piece.
Of rows of a table and of arrays: rows are mixed two by two, images moved a little (Beyer et al., "Knowledge
distillation: A good teacher is patient and consistent", CVPR 2022, where student and teacher see the same mixture).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kaon_jobs.predict.onnx_model import Floats, Row

DROPPED_UNITS = 0.15
"""Share of units that a view leaves out."""
SHARE_FROM_THE_MIDDLE = 0.25
"""Share of a view's texts that begin at some other unit than the first: more to learn from a text longer than the
model reads."""
FEWEST_UNITS = 3
"""A shorter text stays as it is."""
MOVED = 1 / 14
"""Of an image's side: as far as a view moves it, each way."""

Spans = Sequence[tuple[int, int]]
"""Begin and end of each token of a text, in characters."""

_WITHOUT_SPACES = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf"  # Tai Le, New Tai Lue, Tai Tham
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u2e80-\u2fdf\u3000-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han, Kana, Bopomofo
    "\uff00-\uffef"  # full-width and half-width forms
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # more Kana and Han
    "]"
)
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text that a view keeps or leaves out as a whole."""

    text: str
    word: int
    """The number of the word between spaces that it belongs to."""


def view(
    texts: Sequence[str], number: int, seed: int, longest: int, spans_of: Callable[[list[str]], list[Spans]]
) -> list[str]:
    """Texts with units left out, some of them begun in the middle, of at most `longest` units.

    Args:
        number: 0 is the texts as they are.
        spans_of: the tokens of texts; asked only for those in scripts without spaces.
    """
    if number == 0:
        return list(texts)
    unspaced = [row for row, text in enumerate(texts) if _WITHOUT_SPACES.search(text)]
    spans = dict(zip(unspaced, spans_of([texts[row] for row in unspaced]) if unspaced else [], strict=True))
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    return [_vary(text, units(text, spans.get(row, ())), draw, longest) for row, text in enumerate(texts)]


def units(text: str, spans: Spans) -> list[Unit]:
    """The words of a text, those in scripts without spaces cut where a token begins."""
    starts = _starts(spans)
    found = []
    for number, word in enumerate(re.finditer(r"\S+", text)):
        if not _WITHOUT_SPACES.search(word.group()):
            found.append(Unit(word.group(), number))
            continue
        cuts = [at for at in starts if word.start() < at < word.end() and _may_cut(text, at)]
        bounds = [word.start(), *cuts, word.end()]
        found.extend(Unit(text[one:other], number) for one, other in pairwise(bounds))
    return found


def _starts(spans: Spans) -> list[int]:
    """Where a token begins; not inside of another one, as the bytes of a character do."""
    found, end = [], 0
    for start, stop in spans:
        if start >= end:
            found.append(start)
        end = max(end, stop)
    return found


def _may_cut(text: str, at: int) -> bool:
    """Whether a text may be cut before this character: beside a script without spaces, and never inside of a letter
    with its marks."""
    before, behind = text[at - 1], text[at]
    if unicodedata.category(behind).startswith("M") or behind in _JOINERS or before in _JOINERS:
        return False
    return bool(_WITHOUT_SPACES.match(before) or _WITHOUT_SPACES.match(behind))


def _vary(text: str, parts: list[Unit], draw: np.random.Generator, longest: int) -> str:
    if len(parts) < FEWEST_UNITS:
        return text
    if draw.random() < SHARE_FROM_THE_MIDDLE:
        parts = parts[int(draw.integers(len(parts) // 2 + 1)) :]
    # Twice as many as are read: of those that stay, still more than enough.
    parts = parts[: 2 * longest]
    kept = [part for part, chance in zip(parts, draw.random(len(parts)), strict=True) if chance >= DROPPED_UNITS]
    return _joined((kept or parts)[:longest])


def _joined(parts: Sequence[Unit]) -> str:
    """The units as they stood: a space between words, none inside of one."""
    made = [parts[0].text]
    for before, part in pairwise(parts):
        made.append(part.text if part.word == before.word else f" {part.text}")
    return "".join(made)


def mixed(values: Floats, number: int, seed: int) -> Floats:
    """Each row with up to half of another one, images moved before.

    Args:
        values: rows first; an image is [channels, height, width].
        number: 0 is the rows as they are.
    """
    if number == 0:
        return values
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    seen = _moved(values, draw) if values.ndim == 4 else values
    share = draw.uniform(0.5, 1.0, (len(values), *[1] * (values.ndim - 1))).astype(np.float32)
    return np.asarray(share * seen + (1 - share) * seen[draw.permutation(len(values))], dtype=np.float32)


def mixed_rows(rows: Sequence[Row], number: int, seed: int) -> list[Row]:
    """Each row of a table with up to half of another one: of numbers a mixture, all else as it is. None stays None.

    Args:
        number: 0 is the rows as they are.
    """
    if number == 0:
        return list(rows)
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    shares = draw.uniform(0.5, 1.0, len(rows)).tolist()
    others = draw.permutation(len(rows)).tolist()
    return [
        tuple(_mixed_value(one, other, share) for one, other in zip(row, rows[place], strict=True))
        for row, place, share in zip(rows, others, shares, strict=True)
    ]


def _mixed_value(one: float | str | None, other: float | str | None, share: float) -> float | str | None:
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return one
    return share * one + (1 - share) * other


def _moved(images: Floats, draw: np.random.Generator) -> Floats:
    """Each image moved on its own, its edge repeated."""
    height, width = images.shape[-2:]
    most = max(1, round(max(height, width) * MOVED))
    padded = np.pad(images, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    down, right = draw.integers(2 * most + 1, size=(2, len(images)))
    moved = [
        padded[row, :, top : top + height, left : left + width]
        for row, (top, left) in enumerate(zip(down, right, strict=True))
    ]
    return np.stack(moved)
