"""Fine-tunes an encoder on texts, exports it, and proves that the export gives the model's own answers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import TrainWork
from kaon.tasks.registry import TASKS
from kaon_jobs.learn.export import Parity, check_parity, export_onnx, write_tokenizer
from kaon_jobs.learn.loop import Fitted, fit, of_texts
from kaon_jobs.machine import cpu_limit
from kaon_jobs.predict.onnx_model import MODEL_FILE, write_card
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.pretrained.base_model import check_length, load_config, load_model
from kaon_jobs.pretrained.cost import check_cost
from kaon_jobs.pretrained.folder import check_files
from kaon_jobs.pretrained.rehearsal import rehearse
from kaon_jobs.pretrained.tokenizer import (
    Coverage,
    check_coverage,
    check_vocabulary,
    load_tokenizer,
    measure_coverage,
)
from kaon_jobs.tasks.base import Learned, Lesson
from kaon_jobs.tasks.text_classification.card import card_of

log = logging.getLogger(__name__)


def learn(lesson: Lesson, percents: tuple[int, int]) -> Learned:
    """As `Room.learn`."""
    assert lesson.base is not None  # not a builtin model
    work, context, train, test = lesson.work, lesson.context, lesson.train, lesson.test
    report, recipe, (first, last) = context.reporter, work.recipe, percents
    # A fresh head is announced as missing weights, and bars do not belong in a pod's log.
    quiet: Any = transformers_logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    torch.set_num_threads(cpu_limit())

    card = card_of(work, lesson.labels)
    texts = [*train.inputs, *test.inputs]
    tokenizer, model, coverage = prepare(lesson.base.directory, work, lesson.labels, texts, context.budgets)
    report.progress("rehearsing", first)
    rehearse(model, tokenizer, train.inputs, recipe, card, context.workdir / "rehearsal", work.model.base)
    fitted = fit(
        model,
        of_texts(tokenizer, train, lesson.validation, recipe, len(lesson.labels)),
        *(recipe, work.checkpoint, lesson.store, lesson.address, context),
        percents=(first + 1, last - 1),
        stopping=TASKS[work.task].stopping,
    )

    report.progress("exporting", last)
    model.save_pretrained(lesson.out)
    write_tokenizer(tokenizer, recipe.max_sequence_length, lesson.out)
    export_onnx(model, lesson.out / MODEL_FILE)
    write_card(lesson.out, card)
    exported = OnnxTextModel(lesson.out, lesson.threads)
    parity = check_parity(model, exported, [*test.inputs, *train.inputs])
    return Learned(card, _facts(fitted, parity, coverage), fitted.log_history)


def prepare(
    directory: Path, work: TrainWork, labels: list[str], texts: Sequence[str], budgets: Budgets | None = None
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, Coverage]:
    """The base model's tokenizer and model, held against each other, the recipe and the rows.

    Raises:
        StageFailure: what does not fit.
    """
    uri, recipe = work.model.base, work.recipe
    check_files(directory, uri)
    check_cost(directory, uri, texts, len(labels), budgets or Budgets())
    config = load_config(directory, uri)
    tokenizer = load_tokenizer(directory, config, uri)
    coverage = measure_coverage(tokenizer, texts, directory, uri)
    log.info("the vocabulary does not know %.2f%% of the characters", 100 * coverage.share)
    set_seed(recipe.seed)
    model = load_model(directory, config, uri, labels, recipe.dropout, tokenizer.pad_token_id)
    embeddings: Any = model.get_input_embeddings()
    check_vocabulary(tokenizer, embeddings.num_embeddings, directory, uri)
    check_coverage(coverage, uri)
    check_length(model, recipe.max_sequence_length, uri)
    return tokenizer, model, coverage


def _facts(fitted: Fitted, parity: Parity, coverage: Coverage) -> list[tuple[str, Any]]:
    return [
        ("steps", fitted.steps),
        ("best step", fitted.best_step if fitted.best_step is not None else "the last one"),
        ("resumed from step", fitted.resumed_from_step if fitted.resumed_from_step is not None else "not resumed"),
        (
            "parity of the exported model",
            f"{parity.rows} texts, logits within {parity.max_logit_difference:.1e}, "
            f"{parity.label_agreement:.1%} of the labels agree",
        ),
        (
            "characters that the vocabulary does not know",
            f"{coverage.share:.2%} of {coverage.characters:,} in {coverage.texts:,} texts",
        ),
    ]
