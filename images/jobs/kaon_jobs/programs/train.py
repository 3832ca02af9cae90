"""The train stage from end to end: fetch, fine-tune, export, prove parity, evaluate, publish the model's artifact."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from kaon.api.report import Result, TrainingResult
from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import JobSpec, TrainWork
from kaon.contract.manifest import ModelCard, Signature, TensorSpec
from kaon.tasks.registry import TASKS
from kaon_jobs.context import Context, now
from kaon_jobs.data.splits import Rows, classes_of, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure
from kaon_jobs.fetched import FetchedModel
from kaon_jobs.learn.checkpoints import Checkpoints
from kaon_jobs.learn.export import Parity, check_parity, export_onnx, write_tokenizer
from kaon_jobs.learn.loop import Fitted, fit
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.evaluation import Measured, measure
from kaon_jobs.measure.golden import golden_examples
from kaon_jobs.measure.page import report_page
from kaon_jobs.measure.predictions import predictions_file, write_predictions
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, OnnxTextClassifier
from kaon_jobs.pretrained.base_model import check_length, load_config, load_model
from kaon_jobs.pretrained.cost import check_cost
from kaon_jobs.pretrained.fetch import fetch_base_model
from kaon_jobs.pretrained.folder import check_files
from kaon_jobs.pretrained.rehearsal import rehearse
from kaon_jobs.pretrained.tokenizer import (
    Coverage,
    check_coverage,
    check_vocabulary,
    load_tokenizer,
    measure_coverage,
)
from kaon_jobs.programs.content import with_content
from kaon_jobs.store.artifact import publish
from kaon_jobs.store.objectstore import open_store
from kaon_jobs.tasks.text_classification.linear import baseline

log = logging.getLogger(__name__)

THREADS = 2
"""Of the evaluation, as of a small server; figures of different runs compare."""


def run(job: JobSpec, work: TrainWork, context: Context) -> Result:
    """Makes the model's artifact and returns the Result to report."""
    job = with_content(job, context)
    if job.artifact is None:
        raise StageFailure("InvalidSpec", "a train job needs `output`: where its artifact goes")
    report, recipe = context.reporter, work.recipe
    # A fresh head is announced as missing weights, and bars do not belong in a pod's log.
    quiet: Any = transformers_logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    torch.set_num_threads(cpu_limit())

    report.progress("fetching", 0)
    dataset = fetch_dataset(work.dataset, context.workdir / "dataset")
    labels = classes_of(dataset.manifest)
    train, validation, test = (
        read_split(context.workdir / "dataset", split) for split in ("train", "validation", "test")
    )
    base = context.base_model or fetch_base_model(work, context)

    card = _card(work, labels)
    tokenizer, model, coverage = prepare(base.directory, work, labels, [*train.inputs, *test.inputs], context.budgets)
    report.progress("rehearsing", 4)
    rehearse(model, tokenizer, train.inputs, recipe, card, context.workdir / "rehearsal", work.model.base)
    output = open_store(job.artifact.uri, job.artifact.secret)
    task = TASKS[work.task]
    fitted = fit(
        *(model, tokenizer, train, validation, recipe, work.checkpoint, output, job.address, context),
        percents=(5, 85),
        stopping=task.stopping,
    )

    report.progress("exporting", 86)
    out = context.workdir / "model"
    out.mkdir()
    model.save_pretrained(out)
    write_tokenizer(tokenizer, recipe.max_sequence_length, out)
    export_onnx(model, out / MODEL_FILE)
    (out / CARD_FILE).write_text(json.dumps(card.wire(), indent=1, ensure_ascii=False))
    threads = min(THREADS, cpu_limit())
    classifier = OnnxTextClassifier(out, threads)
    parity = check_parity(model, classifier, [*test.inputs, *train.inputs])

    report.progress("evaluating", 88)
    edges = edge_texts(classifier.tokenizer, train.inputs)
    golden = golden_examples(classifier, test.inputs, test.label_ids.tolist(), edges)
    card = card.model_copy(update={"golden": golden})
    (out / CARD_FILE).write_text(json.dumps(card.wire(), indent=1, ensure_ascii=False))
    if len(validation):
        write_predictions(out / predictions_file("validation"), validation, classifier.probabilities(validation.inputs))
    measured = measure(
        out,
        test.inputs,
        test.label_ids,
        split="test",
        threads=threads,
        progress=lambda share: report.progress("evaluating", 89 + 8 * share),
    )
    report.progress("measuring the baseline", 97)
    simple = baseline(train.inputs, train.label_ids, test.inputs, test.label_ids, labels)
    measured = replace(measured, evaluation=measured.evaluation.model_copy(update={"baseline": simple}))
    _write_evidence(out, test, measured, work, labels, fitted, parity, coverage, base, context)

    evaluation = measured.evaluation
    figures = {name: value for name in task.headline if (value := evaluation.value(name)) is not None}
    report.progress("publishing", 98, metrics=figures)
    result = Result(
        cost=context.cost(),
        start_time=context.start_time,
        completion_time=now(),
        training=TrainingResult(evaluation=evaluation, dataset_digest=work.dataset.digest),
    )
    published = publish(
        job,
        out,
        kind="model",
        attempt=context.attempt,
        result=result,
        model=card,
    )
    forget_checkpoints(job, context)
    return published


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


def forget_checkpoints(job: JobSpec, context: Context) -> None:
    """Deletes the checkpoints of a finished training: nothing is ever resumed from them again."""
    assert job.artifact is not None  # a training that has published has one
    store = open_store(job.artifact.uri, job.artifact.secret)
    try:
        Checkpoints(store, job.address, context.attempt, 1, context.reporter.checkpoint).clear()
    except StageFailure as failure:
        log.warning("checkpoints stay in the store: %s", failure.message)


def _card(work: TrainWork, labels: list[str]) -> ModelCard:
    return ModelCard(
        task=work.task,
        labels=labels,
        max_sequence_length=work.recipe.max_sequence_length,
        signature=Signature(
            inputs=[TensorSpec(name="text", datatype="BYTES", shape=[-1, 1])],
            outputs=[
                TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
                TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(labels)]),
            ],
        ),
        serving_files=[MODEL_FILE, TOKENIZER_FILE, CARD_FILE],
        base_model=work.model.base,
        recipe=work.recipe.wire(),
    )


def _write_evidence(
    out: Path,
    test: Rows,
    measured: Measured,
    work: TrainWork,
    labels: list[str],
    fitted: Fitted,
    parity: Parity,
    coverage: Coverage,
    base: FetchedModel,
    context: Context,
) -> None:
    evaluation = measured.evaluation
    (out / "evaluation.json").write_text(json.dumps(evaluation.wire(), indent=1, ensure_ascii=False))
    write_predictions(out / predictions_file("test"), test, measured.probabilities)
    facts = [
        ("dataset", f"{work.dataset.uri} {work.dataset.digest}"),
        ("base model", f"{work.model.base} {base.digest}"),
        ("steps", fitted.steps),
        ("best step", fitted.best_step if fitted.best_step is not None else "the last one"),
        ("resumed from step", fitted.resumed_from_step if fitted.resumed_from_step is not None else "not resumed"),
        (
            "parity of the exported model",
            f"{parity.texts} texts, logits within {parity.max_logit_difference:.1e}, "
            f"{parity.label_agreement:.1%} of the labels agree",
        ),
        (
            "characters that the vocabulary does not know",
            f"{coverage.share:.2%} of {coverage.characters:,} in {coverage.texts:,} texts",
        ),
        ("attempt", context.attempt),
    ]
    page = report_page("Trained model", evaluation, measured.quality, labels, work.recipe, fitted.log_history, facts)
    (out / "report.html").write_text(page, encoding="utf-8")
