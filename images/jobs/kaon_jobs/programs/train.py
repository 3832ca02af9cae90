"""The train stage from end to end: fetch, learn and export, evaluate beside the baseline, publish the artifact.

How a task's models learn is in its room (tasks/).
"""

from __future__ import annotations

import logging
from dataclasses import replace

from kaon.api.report import Result, TrainingResult
from kaon.contract.jobspec import JobSpec, TrainWork
from kaon.tasks.registry import TASKS
from kaon_jobs.context import Context, now
from kaon_jobs.data.catalogue import read_items
from kaon_jobs.data.splits import classes_of, features_of, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.checkpoints import Checkpoints
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.evaluation import Measured, measure, write_evaluation
from kaon_jobs.measure.golden import golden_examples
from kaon_jobs.measure.mistakes import confident_mistakes
from kaon_jobs.measure.page import report_page
from kaon_jobs.measure.predictions import predictions_file, write_predictions
from kaon_jobs.predict.onnx_model import write_card
from kaon_jobs.predict.opening import open_model
from kaon_jobs.pretrained.fetch import fetch_base_model
from kaon_jobs.programs.content import with_content
from kaon_jobs.store.artifact import publish
from kaon_jobs.store.objectstore import open_store
from kaon_jobs.tasks.base import Learned, Lesson
from kaon_jobs.tasks.registry import room_of

log = logging.getLogger(__name__)

THREADS = 2
"""Of the evaluation, as of a small server; figures of different runs compare."""


def run(job: JobSpec, work: TrainWork, context: Context) -> Result:
    """Makes the model's artifact and returns the Result to report."""
    job = with_content(job, context)
    if job.artifact is None:
        raise StageFailure("InvalidSpec", "a train job needs `output`: where its artifact goes")
    report, room = context.reporter, room_of(work.task)

    report.progress("fetching", 0)
    dataset = fetch_dataset(work.dataset, context.workdir / "dataset")
    train, validation, test = (
        read_split(context.workdir / "dataset", split) for split in ("train", "validation", "test")
    )
    out = context.workdir / "model"
    out.mkdir()
    lesson = Lesson(
        work=work,
        labels=classes_of(dataset.manifest),
        features=features_of(dataset.manifest),
        train=train,
        validation=validation,
        test=test,
        items=read_items(context.workdir / "dataset"),
        base=None if work.model.builtin else context.base_model or fetch_base_model(work, context),
        out=out,
        store=open_store(job.artifact.uri, job.artifact.secret),
        address=job.address,
        threads=min(THREADS, cpu_limit()),
        context=context,
    )
    learned = room.learn(lesson, percents=(4, 86))

    report.progress("evaluating", 88)
    model = open_model(out, lesson.threads)
    golden = golden_examples(model, test.inputs, test.targets, room.edges(model, train))
    card = learned.card.model_copy(update={"golden": golden})
    write_card(out, card)
    if len(validation):
        write_predictions(out / predictions_file("validation"), validation, model.answers(validation.inputs))
    measured = measure(
        out,
        test.inputs,
        test.targets,
        split="test",
        threads=lesson.threads,
        progress=lambda share: report.progress("evaluating", 89 + 8 * share),
    )
    report.progress("measuring the baseline", 97)
    simple = room.baseline(lesson)
    measured = replace(measured, evaluation=measured.evaluation.model_copy(update={"baseline": simple}))
    _write_evidence(lesson, learned, measured)

    evaluation = measured.evaluation
    named = TASKS[work.task].headline
    figures = {name: value for name in named if (value := evaluation.value(name)) is not None}
    report.progress("publishing", 98, metrics=figures)
    result = Result(
        cost=context.cost(),
        start_time=context.start_time,
        completion_time=now(),
        signature=card.served_signature,
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


def forget_checkpoints(job: JobSpec, context: Context) -> None:
    """Deletes the checkpoints of a finished training: nothing is ever resumed from them again."""
    assert job.artifact is not None  # a training that has published has one
    store = open_store(job.artifact.uri, job.artifact.secret)
    try:
        Checkpoints(store, job.address, context.attempt, 1, context.reporter.checkpoint).clear()
    except StageFailure as failure:
        log.warning("checkpoints stay in the store: %s", failure.message)


def _write_evidence(lesson: Lesson, learned: Learned, measured: Measured) -> None:
    work, out, evaluation = lesson.work, lesson.out, measured.evaluation
    write_evaluation(out, evaluation)
    write_predictions(out / predictions_file("test"), lesson.test, measured.answers)
    facts = [
        ("dataset", f"{work.dataset.uri} {work.dataset.digest}"),
        ("base model", f"{work.model.base} {lesson.base.digest}" if lesson.base else work.model.base),
        *learned.facts,
        ("attempt", lesson.context.attempt),
    ]
    mistakes = confident_mistakes(learned.card, lesson.test, measured.answers)
    page = report_page(
        "Trained model", evaluation, measured.quality, lesson.labels, work.recipe, learned.history, facts, mistakes
    )
    (out / "report.html").write_text(page, encoding="utf-8")
