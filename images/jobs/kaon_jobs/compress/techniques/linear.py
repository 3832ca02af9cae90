"""linear: a student of another family, a linear model over words (learn/linear.py). It has no trained form.

It learns the labels of the training rows. The words that move its scores most are kept, and it is trained again with
them alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from tokenizers import models

from kaon.api.compressionjob import Linear
from kaon_jobs.compress.families.forms import TRAINED_FILES
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.learn.calibration import sharpness
from kaon_jobs.learn.linear import (
    fit,
    graph_of,
    make_tokenizer,
    most_telling,
    with_words,
    word_counts,
)
from kaon_jobs.predict.onnx_model import MODEL_FILE, read_card, write_card
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, longest_of

MIN_LENGTH = 512
"""Words that it reads at least: long texts cost a linear model little."""
HELD_BACK = 10
"""One row of so many tells how sure the scores are."""


TAKES: tuple[Kind, ...] = ("encoder", "text")


def technique(parameters: Linear, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return LinearStudent(parameters)


class LinearStudent:
    """Writes the tokenizer and the graph of a linear model."""

    def __init__(self, parameters: Linear) -> None:
        self._words = parameters.words

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        texts, label_ids = data.rows.inputs, data.rows.targets
        card = read_card(source)
        classes, longest = len(card.labels), max(MIN_LENGTH, longest_of(source))
        data.progress("training a linear model", 0.0)
        tokenizer = make_tokenizer(texts, longest)
        counts = word_counts(tokenizer, texts)
        model = fit(counts, label_ids, classes, balanced=False, seed=data.seed)
        if counts.shape[1] > self._words and isinstance(tokenizer.model, models.WordLevel):
            tokenizer = with_words(tokenizer, most_telling(model, counts, self._words))
            counts = word_counts(tokenizer, texts)
            model = fit(counts, label_ids, classes, balanced=False, seed=data.seed)
        data.progress("training a linear model", 0.5)
        last = np.random.default_rng(data.seed).permutation(len(texts)) % HELD_BACK == 0
        if last.any() and not last.all():
            part = fit(counts[~last], label_ids[~last], classes, balanced=False, seed=data.seed)
            model = model.times(sharpness(part.scores(counts[last]), label_ids[last]))
        for name in TRAINED_FILES:
            (target / name).unlink(missing_ok=True)
        tokenizer.save(str(target / TOKENIZER_FILE))
        write_card(target, card.model_copy(update={"max_sequence_length": longest}))
        onnx.save(graph_of(model), target / MODEL_FILE)
