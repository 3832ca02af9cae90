"""What training techniques learn from: training rows, views of them, and what the baseline says of each view.

A view shows a student what the teacher says off the training rows, which it knows by heart. Of texts: words are left
out (the data augmentation of TinyBERT, Jiao et al. 2020, reduced to what needs no second model). Of arrays: rows are
mixed two by two, images moved a little (Beyer et al., "Knowledge distillation: A good teacher is patient and
consistent", CVPR 2022, where student and teacher see the same mixture).

The baseline is the teacher. Its logits are computed once for a view and kept in the trial store, so that all trials,
and a later attempt, share them. Rows come from the training split alone; validation and test rows teach nothing.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kaon_jobs.classifier import open_classifier
from kaon_jobs.compress.calibration import Calibration
from kaon_jobs.compress.forms import is_trained_form
from kaon_jobs.data.splits import Rows
from kaon_jobs.onnx_model import Floats
from kaon_jobs.onnx_text import TOKENIZER_FILE, longest_of, token_rows
from kaon_jobs.processor import multiplies_bf16
from kaon_jobs.store import sha256_file

log = logging.getLogger(__name__)

DROPPED_WORDS = 0.15
"""Share of words that a view leaves out."""
SHARE_FROM_THE_MIDDLE = 0.25
"""Share of a view's texts that begin at some other word than the first: more to learn from a text longer than the
model reads."""
MOVED = 1 / 14
"""Of an image's side: as far as a view moves it, each way."""


class Shelf(Protocol):
    """Where the teacher's answers are kept between attempts."""

    def read(self, name: str) -> bytes | None:
        """The bytes under a name, None when there are none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Keeps bytes under a name."""
        ...


class Forgetful:
    """A shelf that keeps nothing: for a single run of a technique."""

    def read(self, name: str) -> bytes | None:
        """Nothing."""
        return None

    def write(self, name: str, data: bytes) -> None:
        """Forgets it."""


class Lessons(Calibration):
    """Training rows with the teacher's answers."""

    def __init__(
        self,
        rows: Rows,
        seed: int,
        teacher: Path,
        *,
        threads: int,
        shelf: Shelf | None = None,
        progress: Callable[[str, float], None] = lambda phase, share: None,
    ) -> None:
        super().__init__(rows.inputs, seed)
        self.rows = rows
        self.teacher = teacher
        self.threads = threads
        """To train with: all there are, whatever the model is timed with."""
        self.progress = progress
        """Hears what goes on and the share of it that is done."""
        self._shelf = shelf or Forgetful()
        self._answers: dict[int, Floats] = {}
        self._encoded: dict[tuple[str, int], list[list[int]]] = {}

    def drawn_rows(self, count: int) -> Rows:
        """At most `count` training rows: the rows of `draw`."""
        return self.rows.some(np.random.default_rng(self.seed).permutation(len(self.rows))[:count])

    def view(self, number: int) -> list[Any]:
        """The training examples as the teacher and a student both see them; view 0 is the examples as they are."""
        if isinstance(self.rows.inputs[0], str):
            # A token is no more than a word: what lies behind is never read.
            return view(self.rows.inputs, number, self.seed, longest_of(self.teacher))
        return list(mixed(np.stack(self.rows.inputs), number, self.seed))

    def encoded(self, directory: Path, number: int) -> list[list[int]]:
        """The token ids of a view as the tokenizer of `directory` reads it; students of one vocabulary share them."""
        key = (sha256_file(directory / TOKENIZER_FILE), number)
        if key not in self._encoded:
            self._encoded[key] = list(token_rows(directory, self.view(number)))
        return self._encoded[key]

    def answers(self, number: int) -> Floats:
        """The teacher's logits [rows, classes] for a view."""
        if number not in self._answers:
            name = f"teacher-{number}.npy"
            kept = self._shelf.read(name)
            if kept is None:
                made = self._ask(number)
                buffer = io.BytesIO()
                np.save(buffer, made.astype(np.float32), allow_pickle=False)
                self._shelf.write(name, buffer.getvalue())
                self._answers[number] = made
            else:
                self._answers[number] = np.load(io.BytesIO(kept), allow_pickle=False)
        return self._answers[number]

    def _ask(self, number: int) -> Floats:
        log.info("the teacher answers view %d of %d rows", number, len(self.rows))
        self.progress(f"the teacher answers, view {number}", 0.0)
        if is_trained_form(self.teacher) and multiplies_bf16():
            # encoder.py knows techniques, and these know this file.
            from kaon_jobs.compress.encoder import brief_answers

            return brief_answers(self.teacher, self.encoded(self.teacher, number), self.threads)
        return open_classifier(self.teacher, self.threads).logits(self.view(number))


def view(texts: list[str], number: int, seed: int, longest: int) -> list[str]:
    """Texts with words left out, some of them begun in the middle, of at most `longest` words. The same each time.

    Number 0 is the texts as they are.
    """
    if number == 0:
        return list(texts)
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    return [_vary(text, draw, longest) for text in texts]


def mixed(values: Floats, number: int, seed: int) -> Floats:
    """Each row with up to half of another one, images moved before. The same each time.

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


def _vary(text: str, draw: np.random.Generator, longest: int) -> str:
    words = text.split()
    if len(words) < 3:
        return text
    if draw.random() < SHARE_FROM_THE_MIDDLE:
        words = words[int(draw.integers(len(words) // 2 + 1)) :]
    # Twice as many as are read: of those that stay, still more than enough.
    words = words[: 2 * longest]
    kept = [word for word, chance in zip(words, draw.random(len(words)), strict=True) if chance >= DROPPED_WORDS]
    return " ".join((kept or words)[:longest])
