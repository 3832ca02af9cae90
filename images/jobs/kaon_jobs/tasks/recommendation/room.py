"""recommendation in pods: what a user has taken in, the items that they take next out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from kaon.api.evaluation import SimpleBaseline
from kaon.api.signature import Signature, TensorSpec
from kaon.contract.manifest import ModelCard
from kaon.tasks.metrics import NDCG_AT_10
from kaon_jobs.data.catalogue import Items
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.recommend.material import Floats, Ids, Material, Questions, questions_of, ranked
from kaon_jobs.learn.recommend.training import Candidate, Choice, train
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.ranking import ranking_quality
from kaon_jobs.predict.onnx_history import ITEMS_FILE, USERS_FILE, OnnxHistoryModel, write_catalogue
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE, Example, History, OnnxModel, write_card
from kaon_jobs.tasks.base import Learned, Lesson, Room

log = logging.getLogger(__name__)

RANKS = 10
"""Items that are an answer."""
PARITY_ROWS = 500
PARITY_TOLERANCE = 1e-4
"""Of scores, beside the largest one where that is above 1."""
GOLDEN_TOLERANCE = 1e-2
"""Of a served score, beside the largest one."""


class Recommendation(Room):
    """Histories in, items out."""

    def learn(self, lesson: Lesson, percents: tuple[int, int]) -> Learned:
        work, report, (first, last) = lesson.work, lesson.context.reporter, percents
        if work.model.builtin is None:
            raise StageFailure(
                "ModelNotForTask",
                f"{work.task} starts from no model of a store; set spec.model.base to one of its builtin models",
            )
        report.progress("reading histories", first)
        material = material_of(lesson)
        choice = train(
            work.model.builtin,
            material,
            lambda kind, share: report.progress(f"training {kind}", first + (last - first) * share),
        )
        told = _told(choice, len(material.questions))
        log.info("%s", told)
        report.progress("exporting", last)
        onnx.save(choice.best.trained.model.graph(), lesson.out / MODEL_FILE)
        _write_catalogue(lesson)
        write_card(lesson.out, card_of(lesson, 1.0))
        difference, rows, largest = _check_parity(choice.best, lesson)
        facts = [
            ("model", f"{choice.best.kind}: {choice.best.trained.about}"),
            ("chosen", told),
            *((f"{kind} was not trained", why) for kind, why in choice.refused.items()),
            ("parity of the exported model", f"{rows} histories, scores within {difference:.1e}"),
        ]
        return Learned(card_of(lesson, largest), facts)

    def edges(self, model: OnnxModel, rows: Rows) -> Sequence[Example]:
        """Nothing is known; an item and a user that nobody knows; a known user; a longer history than is read."""
        assert isinstance(model, OnnxHistoryModel)  # by its card
        names, unknown = model.reader.names, "unknown"
        while unknown in names:
            unknown += "_"
        long = tuple(names[: model.reader.length + 1][: max(1, len(names) - RANKS)])
        found: list[History] = [((), None), ((unknown,), None), ((), unknown), (long, None)]
        known = next((user for _, user in rows.inputs), None)
        return [*found, *([((), known)] if known is not None else [])]

    def baseline(self, lesson: Lesson) -> SimpleBaseline:
        material, numbers = material_of(lesson), _numbers_of(lesson)
        histories = [numbers(row) for row in lesson.test.inputs]
        model = train("popularity", material, lambda kind, share: None).best.trained.model
        found = ranking_quality(list(lesson.test.targets), ranked(histories, model), material.items)
        return SimpleBaseline(name="list of the most popular items", metrics=found.metrics)


def material_of(lesson: Lesson) -> Material:
    """What models learn from, and the questions by which they are chosen."""
    items, numbers, recipe = _items(lesson), _numbers_of(lesson), lesson.work.recipe
    validation = Questions([numbers(row) for row in lesson.validation.inputs], list(lesson.validation.targets))
    histories, questions = questions_of(list(lesson.train.targets), validation, recipe.seed)
    return Material(
        items=len(items.names),
        histories=histories,
        counts=items.counts,
        texts=items.texts,
        questions=questions,
        length=recipe.max_sequence_length,
        seed=recipe.seed,
        threads=cpu_limit(),
    )


def card_of(lesson: Lesson, largest: float) -> ModelCard:
    """The model's card without golden examples.

    Args:
        largest: of the scores.
    """
    return ModelCard(
        task=lesson.work.task,
        labels=[],
        max_sequence_length=lesson.work.recipe.max_sequence_length,
        ranks=RANKS,
        items=len(_items(lesson).names),
        signature=Signature(
            inputs=[
                TensorSpec(name="history", datatype="BYTES", shape=[-1, -1], optional=True),
                TensorSpec(name="user", datatype="BYTES", shape=[-1, 1], optional=True),
            ],
            outputs=[
                TensorSpec(name="items", datatype="BYTES", shape=[-1, RANKS]),
                TensorSpec(name="scores", datatype="FP32", shape=[-1, RANKS]),
            ],
        ),
        serving_files=[MODEL_FILE, ITEMS_FILE, USERS_FILE, CARD_FILE],
        golden_tolerance=GOLDEN_TOLERANCE * largest,
        base_model=lesson.work.model.base,
        recipe=lesson.work.recipe.wire(),
    )


def _items(lesson: Lesson) -> Items:
    if lesson.items is None:
        raise StageFailure(
            "DatasetMismatch", f"the dataset {lesson.work.dataset.uri} has no items; it is of another task"
        )
    return lesson.items


def _numbers_of(lesson: Lesson) -> Callable[[History], Ids]:
    """Makes numbers of the items of a row."""
    numbers = {name: number for number, name in enumerate(_items(lesson).names)}
    return lambda row: np.asarray([numbers[name] for name in row[0]], np.int64)


def _write_catalogue(lesson: Lesson) -> None:
    """What a server needs beside the graph: the items' names, and what the users had taken before the test split."""
    items, numbers = _items(lesson), _numbers_of(lesson)
    histories: dict[str, Ids] = {}
    for row in lesson.train.inputs:
        histories[str(row[1])] = numbers(row)
    for row, wanted in zip(lesson.validation.inputs, lesson.validation.targets, strict=True):
        histories[str(row[1])] = np.concatenate([numbers(row), wanted])
    write_catalogue(lesson.out, items.names, histories)


def _told(choice: Choice, questions: int) -> str:
    """Which model was taken, by how much."""
    order = sorted(choice.candidates, key=lambda candidate: -candidate.ndcg)
    figures = ", ".join(f"{one.kind} {one.ndcg:.4f}" for one in order)
    text = f"{NDCG_AT_10.title} on {questions:,} users not learnt from: {figures}"
    return text if len(order) == 1 else f"{choice.best.kind}. {text}"


def _check_parity(chosen: Candidate, lesson: Lesson) -> tuple[float, int, float]:
    """The largest difference of a score between the model and its export; over how many rows; the largest score."""
    served = OnnxHistoryModel(lesson.out, lesson.threads)
    asked = [*lesson.test.inputs[:PARITY_ROWS], *lesson.train.inputs[:PARITY_ROWS], ((), None)]
    difference, largest = 0.0, 0.0
    for row in asked:
        # By the reader's numbers: an item that occurs twice counts once.
        expected: Floats = chosen.trained.model.scores([served.reader.seen((row[0], None))])
        answered = served.run(served.encode([(row[0], None)]))
        difference = max(difference, float(np.abs(expected - answered).max()))
        largest = max(largest, float(expected.max()))
    allowed = PARITY_TOLERANCE * max(1.0, largest)
    log.info("parity over %d histories: scores differ by at most %.2e", len(asked), difference)
    if not difference <= allowed:
        raise StageFailure(
            "ParityFailed",
            f"the exported model is not the trained one: over {len(asked)} histories scores differ by up to "
            f"{difference:.3g} (allowed {allowed:.3g}). This is a defect of the jobs image; report it",
        )
    return difference, len(asked), largest


ROOM = Recommendation()
