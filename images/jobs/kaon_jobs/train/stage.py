"""The train stage from end to end: fetch, fine-tune, export, prove parity, evaluate, publish the model's artifact."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, set_seed
from transformers.utils import logging as transformers_logging

from kaon.api.report import Result, TrainingResult
from kaon.contract.jobspec import JobSpec, StoreAccess, TrainWork
from kaon.contract.manifest import ModelCard, Signature, TensorSpec
from kaon_jobs.artifact import publish
from kaon_jobs.context import Context, now
from kaon_jobs.data.splits import Rows, classes_of, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure
from kaon_jobs.evaluate.measure import Measured, measure
from kaon_jobs.golden import golden_examples
from kaon_jobs.machine import cpu_limit
from kaon_jobs.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.onnx_text import TOKENIZER_FILE, OnnxTextClassifier
from kaon_jobs.predictions import predictions_file, write_predictions
from kaon_jobs.store import open_store
from kaon_jobs.train.base_model import BaseModel, fetch_base_model, load_model, load_tokenizer
from kaon_jobs.train.checkpoints import Checkpoints
from kaon_jobs.train.export import Parity, check_parity, export_onnx
from kaon_jobs.train.loop import Fitted, fit
from kaon_jobs.train.report_page import report_page

log = logging.getLogger(__name__)

THREADS = 2
"""Of the evaluation, as of a small server; figures of different runs compare."""


def run(job: JobSpec, work: TrainWork, context: Context) -> Result:
    """Makes the model's artifact and returns the Result to report."""
    if job.output is None:
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
    base = fetch_base_model(
        work, context.workdir / "base", lambda done, total: report.progress("fetching", 4 * done / total)
    )

    set_seed(recipe.seed)
    tokenizer = load_tokenizer(base, work.model.base)
    model = load_model(base, work.model.base, labels, recipe.dropout, recipe.max_sequence_length, len(tokenizer))
    output = open_store(job.output.uri, job.output.secret)
    fitted = fit(model, tokenizer, train, validation, recipe, work.checkpoint, output, context, (5, 85))

    report.progress("exporting", 86)
    out = context.workdir / "model"
    out.mkdir()
    model.save_pretrained(out)
    write_tokenizer(tokenizer, recipe.max_sequence_length, out)
    export_onnx(model, out / MODEL_FILE)
    card = _card(work, labels)
    (out / CARD_FILE).write_text(json.dumps(card.wire(), indent=1, ensure_ascii=False))
    threads = min(THREADS, cpu_limit())
    classifier = OnnxTextClassifier(out, threads)
    parity = check_parity(model, classifier, [*test.inputs, *train.inputs])

    report.progress("evaluating", 88)
    card = card.model_copy(update={"golden": golden_examples(classifier, test.inputs, test.label_ids.tolist())})
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
    _write_evidence(out, test, measured, work, labels, fitted, parity, base, context)

    evaluation = measured.evaluation
    figures = {"accuracy": evaluation.accuracy or 0.0, "macroF1": evaluation.macro_f1 or 0.0}
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
        inputs={"dataset": work.dataset.digest, "baseModel": base.digest},
        model=card,
    )
    forget_checkpoints(job.output, context)
    return published


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, max_sequence_length: int, directory: Path) -> None:
    """Writes the tokenizer's files; tokenizer.json alone knows where to cut and what to pad with."""
    tokenizer.save_pretrained(directory)
    fast = tokenizer.backend_tokenizer
    fast.enable_truncation(max_sequence_length)
    fast.enable_padding(
        pad_id=tokenizer.pad_token_id,
        pad_token=str(tokenizer.pad_token),
        pad_type_id=tokenizer.pad_token_type_id,
        direction=tokenizer.padding_side,
    )
    fast.save(str(directory / TOKENIZER_FILE))


def forget_checkpoints(output: StoreAccess, context: Context) -> None:
    """Deletes the checkpoints of a finished training: nothing is ever resumed from them again."""
    store = open_store(output.uri, output.secret)
    try:
        Checkpoints(store, context.attempt, 1, context.reporter.checkpoint).clear()
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
    base: BaseModel,
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
        ("attempt", context.attempt),
    ]
    page = report_page("Trained model", evaluation, measured.quality, labels, work.recipe, fitted.log_history, facts)
    (out / "report.html").write_text(page, encoding="utf-8")
