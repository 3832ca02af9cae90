"""What training techniques learn from: training rows, views of them, and what the baseline says of each view.

The baseline is the teacher. Its logits are computed once for a view and kept in the trial store, so that all trials,
and a later attempt, share them. Rows come from the training split alone; validation and test rows teach nothing.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from kaon_jobs.compress.calibration import Calibration
from kaon_jobs.compress.forms import is_trained_form
from kaon_jobs.data.splits import Rows
from kaon_jobs.onnx_text import TOKENIZER_FILE, Floats, OnnxTextClassifier, load_tokenizer, read_card
from kaon_jobs.processor import multiplies_bf16
from kaon_jobs.store import sha256_file

log = logging.getLogger(__name__)

DROPPED_WORDS = 0.15
"""Share of words that a view leaves out. Views show a student what the teacher says off the training texts, which it
knows by heart (the data augmentation of TinyBERT, Jiao et al. 2020, reduced to what needs no second model)."""
SHARE_FROM_THE_MIDDLE = 0.25
"""Share of a view's texts that begin at some other word than the first: more to learn from a text longer than the
model reads."""


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
        super().__init__(rows.texts, seed)
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
        chosen = np.random.default_rng(self.seed).permutation(len(self.rows))[:count]
        return Rows([self.rows.texts[row] for row in chosen], self.rows.label_ids[chosen], self.rows.row_ids[chosen])

    def view(self, number: int) -> list[str]:
        """The training texts as the teacher and a student both see them; view 0 is the texts as they are."""
        # A token is no more than a word: what lies behind is never read.
        return view(self.rows.texts, number, self.seed, read_card(self.teacher).max_sequence_length)

    def encoded(self, directory: Path, number: int) -> list[list[int]]:
        """The token ids of a view as the tokenizer of `directory` reads it; students of one vocabulary share them."""
        key = (sha256_file(directory / TOKENIZER_FILE), number)
        if key not in self._encoded:
            tokenizer = load_tokenizer(directory, read_card(directory).max_sequence_length)
            tokenizer.no_padding()
            self._encoded[key] = [encoding.ids for encoding in tokenizer.encode_batch(self.view(number))]
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
        return OnnxTextClassifier(self.teacher, self.threads).logits(self.view(number))


def view(texts: list[str], number: int, seed: int, longest: int) -> list[str]:
    """Texts with words left out, some of them begun in the middle, of at most `longest` words. The same each time.

    Number 0 is the texts as they are.
    """
    if number == 0:
        return list(texts)
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    return [_vary(text, draw, longest) for text in texts]


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
