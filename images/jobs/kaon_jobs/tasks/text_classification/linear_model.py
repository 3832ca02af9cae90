"""builtin:linear: the linear model of learn/linear.py as a task's model of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.calibration import sharpness
from kaon_jobs.learn.export import PARITY_TEXTS, PARITY_TOLERANCE
from kaon_jobs.learn.linear import (
    MAX_WORDS,
    SPECIAL,
    LinearModel,
    fit,
    graph_of,
    make_tokenizer,
    word_counts,
    words_of,
)
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_model import MODEL_FILE, write_card
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, OnnxTextModel
from kaon_jobs.runtime.text import load_tokenizer
from kaon_jobs.tasks.base import Learned, Lesson
from kaon_jobs.tasks.text_classification.card import card_of

log = logging.getLogger(__name__)


def learn(lesson: Lesson, percents: tuple[int, int]) -> Learned:
    """As `Room.learn`."""
    work, report, (first, last) = lesson.work, lesson.context.reporter, percents
    recipe, train, validation = work.recipe, lesson.train, lesson.validation
    report.progress("counting words", first)
    written = make_tokenizer(train.inputs, recipe.max_sequence_length)
    written.save(str(lesson.out / TOKENIZER_FILE))
    tokenizer = load_tokenizer(lesson.out / TOKENIZER_FILE, recipe.max_sequence_length)
    counts = word_counts(tokenizer, train.inputs)

    report.progress("training", first + (last - first) // 2)
    balanced = recipe.class_weights == "balanced"
    model = fit(counts, train.targets, len(lesson.labels), balanced=balanced, seed=recipe.seed)
    factor = 1.0
    if len(validation):
        scores = model.scores(word_counts(tokenizer, validation.inputs))
        factor = sharpness(scores, validation.targets)
        model = model.times(factor)

    report.progress("exporting", last)
    onnx.save(graph_of(model), lesson.out / MODEL_FILE)
    card = card_of(work, lesson.labels)
    write_card(lesson.out, card)
    difference, texts = _parity(model, lesson.out, lesson.threads, [*lesson.test.inputs, *train.inputs])
    words = words_of(tokenizer)
    facts = [
        ("words", f"{words:,}" + (" (only the most frequent ones)" if words + SPECIAL >= MAX_WORDS else "")),
        ("factor of the scores, from the validation split", f"{factor:.3g}"),
        ("parity of the exported model", f"{texts} texts, scores within {difference:.1e}"),
    ]
    return Learned(card, facts)


def _parity(model: LinearModel, out: Path, threads: int, texts: Sequence[str]) -> tuple[float, int]:
    """The largest difference of a score between the model and its export, and of how many texts."""
    exported = OnnxTextModel(out, threads)
    asked = [*texts[:PARITY_TEXTS], *edge_texts(exported.tokenizer, texts)]
    trained = model.scores(word_counts(exported.tokenizer, asked))
    served = exported.logits(asked)
    difference = float(np.abs(trained - served).max())
    log.info("parity over %d texts: scores differ by at most %.2e", len(asked), difference)
    if not difference <= PARITY_TOLERANCE * max(1.0, float(np.abs(trained).max())):
        raise StageFailure(
            "ParityFailed",
            f"the exported model is not the trained one: over {len(asked)} texts scores differ by up to "
            f"{difference:.3g} (allowed {PARITY_TOLERANCE:g}). This is a defect of the jobs image; report it",
        )
    return difference, len(asked)
