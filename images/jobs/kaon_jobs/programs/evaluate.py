"""The evaluate stage: measures an artifact's model on a split of a dataset and publishes the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kaon.api.dataset import Feature
from kaon.api.report import Result, TrainingResult
from kaon.contract.jobspec import EvaluateWork, JobSpec
from kaon.contract.manifest import ModelCard
from kaon.tasks.base import TABLE_COLUMNS
from kaon_jobs.context import Context, now
from kaon_jobs.data.catalogue import Items, read_items
from kaon_jobs.data.splits import Rows, classes_of, features_of, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.evaluation import measure, write_evaluation
from kaon_jobs.measure.mistakes import confident_mistakes
from kaon_jobs.measure.page import report_page
from kaon_jobs.measure.predictions import predictions_file, write_predictions
from kaon_jobs.predict.onnx_history import catalogue_of
from kaon_jobs.predict.onnx_model import read_card
from kaon_jobs.programs.content import with_content
from kaon_jobs.store.artifact import MODELS, fetch, publish, serving_files


def run(job: JobSpec, work: EvaluateWork, context: Context) -> Result:
    """Makes a verdict artifact (evaluation, predictions, report) and returns the Result to report."""
    job = with_content(job, context)
    report = context.reporter
    report.progress("fetching", 0)
    model_dir, data_dir = context.workdir / "model", context.workdir / "dataset"
    fetch(work.model, model_dir, kinds=MODELS, only=serving_files)
    dataset = fetch_dataset(work.dataset, data_dir, (work.split,))
    rows, labels = read_split(data_dir, work.split), classes_of(dataset.manifest)
    if not len(rows):
        raise StageFailure("SplitEmpty", f"the {work.split} split of {work.dataset.uri} has no rows to evaluate on")
    card, items = read_card(model_dir), read_items(data_dir)
    check_fits(card, labels, features_of(dataset.manifest), items)
    if items is not None:
        rows = numbered_by(rows, items, catalogue_of(model_dir))
    measured = measure(
        model_dir,
        rows.inputs,
        rows.targets,
        split=work.split,
        threads=min(work.threads, cpu_limit()),
        progress=lambda share: report.progress("evaluating", 10 + 80 * share),
    )
    out = context.workdir / "verdict"
    out.mkdir()
    evaluation = measured.evaluation
    write_evaluation(out, evaluation)
    write_predictions(out / predictions_file(work.split), rows, measured.answers)
    facts = [
        ("model", f"{work.model.uri} {work.model.digest}"),
        ("dataset", f"{work.dataset.uri} {work.dataset.digest}"),
    ]
    mistakes = confident_mistakes(read_card(model_dir), rows, measured.answers)
    page = report_page("Evaluation", evaluation, measured.quality, labels, facts=facts, mistakes=mistakes)
    (out / "report.html").write_text(page, encoding="utf-8")
    result = Result(
        cost=context.cost(),
        start_time=context.start_time,
        completion_time=now(),
        training=TrainingResult(evaluation=evaluation, dataset_digest=work.dataset.digest),
    )
    return publish(job, out, kind="verdict", attempt=context.attempt, result=result)


def check_fits(card: ModelCard, labels: list[str], features: Sequence[Feature], items: Items | None = None) -> None:
    """The dataset has what the model reads and predicts.

    Raises:
        StageFailure: LabelsMismatch, ColumnsMismatch or ItemsMismatch.
    """
    if (card.predicts == "items") != (items is not None):
        ranks, there = ("ranks items", "no interactions") if items is None else ("ranks no items", "interactions")
        raise StageFailure(
            "ItemsMismatch",
            f"the model {ranks}, and the dataset has {there}; evaluate on a dataset of the model's task",
        )
    if items is not None:
        return
    if card.labels != labels:
        known, there = (", ".join(names[:20]) or "numbers" for names in (card.labels, labels))
        raise StageFailure(
            "LabelsMismatch",
            f"the model knows {known}, the dataset {there}; evaluate on a dataset with the same classes in the same "
            "order",
        )
    has_images = any(feature.type == "image" for feature in features)
    if (card.reads == "image") != has_images:
        reads, there = ("images", "none") if card.reads == "image" else (f"a {card.reads}", "images")
        raise StageFailure(
            "ColumnsMismatch",
            f"the model reads {reads}, and the dataset has {there}. Evaluate on a dataset of the model's own task",
        )
    read = [(column.name, column.type) for column in card.columns or []]
    given = [(feature.name, feature.type) for feature in features if feature.type in TABLE_COLUMNS]
    if read == given:
        return
    wrong = [f"{name} ({kind}) is missing" for name, kind in read if (name, kind) not in given]
    wrong += [f"{name} ({kind}) is not a column of the model" for name, kind in given if (name, kind) not in read]
    raise StageFailure(
        "ColumnsMismatch",
        f"the model reads other columns than the dataset has: {'; '.join(wrong[:20]) or 'their order differs'}. "
        "Evaluate on a dataset with the same schema.features in the same order",
    )


def numbered_by(rows: Rows, items: Items, known: Sequence[str]) -> Rows:
    """The same rows, their targets by the numbers of a model's items; items that it does not know come behind these."""
    numbers = {name: number for number, name in enumerate(known)}
    moved = np.asarray([numbers.setdefault(name, len(numbers)) for name in items.names], np.int64)
    targets = np.empty(len(rows), dtype=np.object_)
    targets[:] = [moved[wanted] for wanted in rows.targets]
    return replace(rows, targets=targets)
