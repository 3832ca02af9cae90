"""What training techniques learn from: training rows, views of them (views.py), and what the baseline says of each.

The baseline is the teacher. Its logits are computed once for a view and kept in the trial store, so that all trials,
and a later attempt, share them. Rows come from the training split alone; validation and test rows teach nothing.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kaon_jobs.compress.families.forms import is_trained_form
from kaon_jobs.compress.training.calibration import Calibration
from kaon_jobs.compress.training.views import Spans, mixed, mixed_rows, view
from kaon_jobs.data.splits import Rows
from kaon_jobs.machine import memory_limit, memory_used
from kaon_jobs.predict.onnx_model import Floats, read_card
from kaon_jobs.predict.onnx_text import BLOCK, TOKENIZER_FILE, load_tokenizer, longest_of, token_rows
from kaon_jobs.predict.opening import open_model
from kaon_jobs.processor import multiplies_bf16
from kaon_jobs.store.objectstore import sha256_file

log = logging.getLogger(__name__)

_COPIES = 8
"""Of a decoded image in float32: its views, and what is computed beside them."""
_MEMORY_SHARE = 0.5
_FEWEST_ROWS = 64


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


def _bounded(rows: Rows, teacher: Path, seed: int) -> Rows:
    """Of images as many rows as have room in memory once they are decoded, in all views; a seeded draw of them."""
    form = read_card(teacher).image if len(rows) and isinstance(rows.inputs[0], bytes) else None
    if form is None:
        return rows
    each = _COPIES * 4 * form.channels * form.height * form.width
    most = max(_FEWEST_ROWS, int(_MEMORY_SHARE * (memory_limit() - memory_used()) / each))
    if len(rows) <= most:
        return rows
    log.info("%d of %d training images are learnt from: more have no room in memory", most, len(rows))
    return rows.some(np.sort(np.random.default_rng(seed).permutation(len(rows))[:most]))


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
        self.rows = _bounded(rows, teacher, seed)
        # Of another part of the rows the teacher's answers are others.
        self._part = "" if len(self.rows) == len(rows) else f"-{len(self.rows)}"
        super().__init__(self.rows.inputs, seed)
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
            return view(self.rows.inputs, number, self.seed, longest_of(self.teacher), self._spans)
        if isinstance(self.rows.inputs[0], tuple):
            return mixed_rows(self.rows.inputs, number, self.seed)
        # Files of images are mixed as the pixels that the teacher reads of them.
        return list(mixed(np.stack(self.numbers(self.rows.inputs)), number, self.seed))

    def numbers(self, examples: Sequence[Any]) -> list[Floats]:
        """Arrays, images or rows of a table, each as the graph of the teacher, and of a student, takes it."""
        (values,) = open_model(self.teacher, threads=1).encode(examples).values()
        return list(values)

    def _spans(self, texts: list[str]) -> list[Spans]:
        tokenizer = load_tokenizer(self.teacher)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        found: list[Spans] = []
        for start in range(0, len(texts), BLOCK):
            encodings = tokenizer.encode_batch(texts[start : start + BLOCK], add_special_tokens=False)
            found.extend(encoding.offsets for encoding in encodings)
        return found

    def encoded(self, directory: Path, number: int) -> list[list[int]]:
        """The token ids of a view as the tokenizer of `directory` reads it; students of one vocabulary share them."""
        key = (sha256_file(directory / TOKENIZER_FILE), number)
        if key not in self._encoded:
            self._encoded[key] = list(token_rows(directory, self.view(number)))
        return self._encoded[key]

    def answers(self, number: int) -> Floats:
        """The teacher's logits [rows, classes] for a view; of numbers its predictions [rows, 1]."""
        if number not in self._answers:
            name = f"teacher-{number}{self._part}.npy"
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
            from kaon_jobs.compress.families.encoder import brief_answers

            return brief_answers(self.teacher, self.encoded(self.teacher, number), self.threads)
        return open_model(self.teacher, self.threads).logits(self.view(number))
