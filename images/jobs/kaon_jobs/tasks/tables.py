"""What the rooms of tasks of tables share: how their models are trained, exported and proved, and their baseline."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import onnx

from kaon.api.evaluation import SimpleBaseline
from kaon.api.signature import Signature, TensorSpec
from kaon.contract.manifest import Column, ModelCard
from kaon.tasks.registry import METRICS, TASKS
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.tables.columns import Layout, columns_of
from kaon_jobs.learn.tables.training import Given, TrainedTable, train
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.evaluation import quality_of
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE, Example, OnnxModel, Row, write_card
from kaon_jobs.predict.onnx_table import OnnxTableModel
from kaon_jobs.runtime.graph import softmax
from kaon_jobs.runtime.table import TableReader
from kaon_jobs.tasks.base import Learned, Lesson, Room

log = logging.getLogger(__name__)

PARITY_ROWS = 1000
CLASS_TOLERANCE = 1e-4
"""Of logits, beside the largest one of a known class, where that is above 1."""
NUMBER_TOLERANCE = 1e-4
"""Of predictions, in standard deviations of the target."""
FLOAT32 = 1e-6
"""Beside the largest target: a float32 has seven digits."""
FAR = 1e30
EARLIEST, LATEST = "1000-01-01T00:00:00", "9999-12-31T23:59:59"


class TableRoom(Room):
    """Rows of a table in, a class or a number out."""

    def learn(self, lesson: Lesson, percents: tuple[int, int]) -> Learned:
        work, report, (first, last) = lesson.work, lesson.context.reporter, percents
        kind = work.model.builtin
        if kind is None:
            raise StageFailure(
                "ModelNotForTask",
                f"{work.task} starts from no model of a store; set spec.model.base to one of its builtin models",
            )
        card = card_of(lesson)
        report.progress("reading rows", first)
        trained = _trained(lesson, kind, card, percents)
        metric = METRICS[TASKS[work.task].stopping].title
        told = _told(trained, metric)
        log.info("%s", told)
        report.progress("exporting", last)
        onnx.save(trained.graph(), lesson.out / MODEL_FILE)
        write_card(lesson.out, card)
        difference, rows = _check_parity(trained, lesson, card)
        facts = [
            ("model", f"{trained.kind}: {trained.about}"),
            ("chosen", told),
            *([("factor of the scores, from rows not learnt from", f"{trained.factor:.3g}")] if card.labels else []),
            ("parity of the exported model", f"{rows} rows, answers within {difference:.1e}"),
        ]
        return Learned(card, facts)

    def edges(self, model: OnnxModel, rows: Rows) -> Sequence[Example]:
        return edge_rows(model.card.columns or [])

    def baseline(self, lesson: Lesson) -> SimpleBaseline:
        card = card_of(lesson)
        trained = _trained(lesson, "linear", card)
        answers = trained.answers(_numbers(card, lesson.test.inputs)).astype(np.float32)
        found = quality_of(card, lesson.test.targets, softmax(answers) if card.labels else answers)
        name = "logistic regression" if card.labels else "ridge regression"
        return SimpleBaseline(name=name, metrics=found.metrics)


def card_of(lesson: Lesson) -> ModelCard:
    """The card of a model that is about to be trained, without golden examples."""
    columns = columns_of(lesson.features, lesson.train.inputs)
    kinds = {"number": "FP64", "category": "BYTES", "datetime": "BYTES"}
    outputs = [TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])]
    tolerance = {}
    if lesson.labels:
        outputs = [
            TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
            TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(lesson.labels)]),
        ]
    else:
        tolerance = {"golden_tolerance": _tolerance(lesson)}
    return ModelCard(
        task=lesson.work.task,
        labels=lesson.labels,
        columns=columns,
        signature=Signature(
            inputs=[TensorSpec(name=column.name, datatype=kinds[column.type], shape=[-1, 1]) for column in columns],
            outputs=outputs,
        ),
        serving_files=[MODEL_FILE, CARD_FILE],
        base_model=lesson.work.model.base,
        recipe=lesson.work.recipe.wire(),
        **tolerance,
    )


def edge_rows(columns: Sequence[Column]) -> list[Row]:
    """A row in which all is missing; one that is far above, and one far below what training rows hold."""
    unknown = "unknown"
    while any(unknown in column.categories for column in columns):
        unknown += "_"
    ends: list[dict[str, float | str]] = [
        {"number": FAR, "category": unknown, "datetime": LATEST},
        {"number": -FAR, "category": unknown, "datetime": EARLIEST},
    ]
    return [(None,) * len(columns), *(tuple(end[column.type] for column in columns) for end in ends)]


def _trained(lesson: Lesson, kind: str, card: ModelCard, percents: tuple[int, int] | None = None) -> TrainedTable:
    recipe = lesson.work.recipe

    def heard(name: str, share: float) -> None:
        if percents is not None:
            first, last = percents
            lesson.context.reporter.progress(f"training {name}", first + (last - first) * share)

    return train(
        kind,
        Layout.of(card.columns or []),
        Given(_numbers(card, lesson.train.inputs), lesson.train.targets),
        Given(_numbers(card, lesson.validation.inputs), lesson.validation.targets),
        len(lesson.labels),
        balanced=recipe.class_weights == "balanced",
        seed=recipe.seed,
        threads=cpu_limit(),
        progress=heard,
    )


def _numbers(card: ModelCard, rows: Sequence[Row]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.errstate(over="ignore"):  # a number beyond float32 is infinite
        return TableReader([column.wire() for column in card.columns or []]).numbers(rows)


def _tolerance(lesson: Lesson) -> float:
    targets = lesson.train.targets
    spread, largest = float(targets.std()), float(np.abs(targets).max())
    return NUMBER_TOLERANCE * spread + FLOAT32 * (largest or 1.0)


def _told(trained: TrainedTable, metric: str) -> str:
    """Which model was taken, by how much."""
    ranked = sorted(trained.candidates, key=trained.loss)
    figures = ", ".join(f"{one.kind} {trained.loss(one):.4g}" for one in ranked)
    text = f"{metric} on {trained.held:,} rows not learnt from: {figures}"
    if len(ranked) == 1:
        return text
    best, second = (trained.loss(one) for one in ranked[:2])
    return f"{trained.kind}. {text}. {ranked[1].kind} is worse by {second - best:.2g}"


def _check_parity(trained: TrainedTable, lesson: Lesson, card: ModelCard) -> tuple[float, int]:
    """The largest difference of an answer between the model and its export, and over how many rows."""
    asked = [*lesson.test.inputs[:PARITY_ROWS], *lesson.train.inputs[:PARITY_ROWS], *edge_rows(card.columns or [])]
    served = OnnxTableModel(lesson.out, lesson.threads).logits(asked)
    expected = trained.answers(_numbers(card, asked))
    difference = float(np.abs(served - expected).max())
    known = expected[:, trained.scale.bias == 0] if card.labels else expected
    allowed = CLASS_TOLERANCE * max(1.0, float(np.abs(known).max())) if card.labels else card.golden_tolerance
    log.info("parity over %d rows: answers differ by at most %.2e", len(asked), difference)
    if not difference <= allowed:
        raise StageFailure(
            "ParityFailed",
            f"the exported model is not the trained one: over {len(asked)} rows answers differ by up to "
            f"{difference:.3g} (allowed {allowed:.3g}). This is a defect of the jobs image; report it",
        )
    return difference, len(asked)
