"""The model as it was trained: fetched, verified, and asked again before anything is compared with it.

Touches the store, the scratch directory and onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.evaluation import Evaluation
from kaon.contract.jobspec import CompressWork
from kaon.contract.manifest import Manifest, ModelCard
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.families.forms import TRAINED_FILES
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.statistics.comparing import Comparing, comparing_of
from kaon_jobs.compress.trials.leak import check_held_out
from kaon_jobs.compress.verdict.naming import four_decimals
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows, classes_of, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure, TechniqueFailed
from kaon_jobs.measure.evaluation import quality_of
from kaon_jobs.measure.golden import difference
from kaon_jobs.predict.onnx_model import CARD_FILE, Floats, OnnxModel, read_card
from kaon_jobs.predict.opening import open_model
from kaon_jobs.store.artifact import Artifact, fetch, serving_files

VALIDATION_ROWS = 2000
"""Enough to choose by; a larger validation split is sampled, seeded. The test split is always asked in full."""
PROGRESS_ROWS = 256
EDGE_TEXTS = 16
ROWS_THAT_MAY_DIFFER = 2
"""Rounding on another processor may turn a row that lies on the fence."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Everything a compression starts from."""

    artifact: Artifact
    directory: Path
    card: ModelCard
    comparing: Comparing
    """How another model's answers are compared with its own."""
    train: Rows
    validation: Rows
    test: Rows
    validation_answers: Floats
    test_answers: Floats

    @property
    def test_said(self) -> NDArray[Any]:
        """What the baseline says of each test row: the id of a class, or a number."""
        return self.comparing.said(self.test_answers)


def load_baseline(work: CompressWork, context: Context, threads: int) -> Baseline:
    """Fetches model and data, and checks lineage and parity.

    Raises:
        StageFailure: DatasetMismatch (the model was trained on another dataset), LabelsMismatch, SplitEmpty,
            TestSplitLeaked (a test row was trained on), EvaluationMissing,
            ModelUnsound (it fails on a text of full length or an empty one),
            or ParityFailed (the stored model does not answer as it was recorded).
    """
    report = context.reporter
    report.progress("fetching", 0)
    directory, data = context.workdir / "baseline", context.workdir / "dataset"
    artifact = fetch(
        work.model,
        directory,
        kinds={"model"},
        only=_wanted,
        progress=lambda done, all_: report.progress("fetching", 2 * done / all_),
    )
    check_lineage(artifact, work)
    dataset = fetch_dataset(work.dataset, data)
    labels = classes_of(dataset.manifest)
    train, validation, test = (read_split(data, split) for split in ("train", "validation", "test"))
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        if not len(rows):
            raise StageFailure(
                "SplitEmpty", f"the {name} split of {work.dataset.uri} has no rows; compression needs all three splits"
            )
    check_held_out(test, {"train": train, "validation": validation})
    validation = sample(validation, VALIDATION_ROWS, work.search.seed)
    classifier = open_model(directory, threads)
    if classifier.labels != labels:
        raise StageFailure(
            "LabelsMismatch",
            f"the model knows {', '.join(classifier.labels[:20])}, the dataset {', '.join(labels[:20])}",
        )
    report.progress("checking the baseline", 3)
    check_golden(classifier)
    check_ends(directory, train.inputs[:EDGE_TEXTS])
    test_answers = _in_parts(
        classifier, test.inputs, lambda share: report.progress("checking the baseline", 3 + 5 * share)
    )
    comparing = comparing_of(labels, classifier.card.ranks)
    check_evaluation(recorded_evaluation(artifact), test, test_answers, classifier.card)
    return Baseline(
        artifact,
        directory,
        classifier.card,
        comparing,
        train,
        validation,
        test,
        classifier.answers(validation.inputs),
        test_answers,
    )


def _wanted(manifest: Manifest) -> list[str]:
    there = {file.path for file in manifest.files}
    # Not needed to serve: what the model is made of, and can be trained further from, where there is any.
    made_of = [name for name in TRAINED_FILES if name in there]
    return list(dict.fromkeys([*serving_files(manifest), CARD_FILE, *made_of]))


def check_lineage(artifact: Artifact, work: CompressWork) -> None:
    """The test split is held out only from a model that was trained on this very dataset."""
    trained_on = artifact.manifest.inputs.get("dataset")
    if artifact.manifest.kind != "model" or trained_on is None:
        raise StageFailure(
            "NotAModel", f"{artifact.uri} is a {artifact.manifest.kind}; compress the model of a TrainingRun"
        )
    if trained_on != work.dataset.digest:
        raise StageFailure(
            "DatasetMismatch",
            f"the model {artifact.uri} was trained on dataset {trained_on}, the job names {work.dataset.digest}; on "
            "another dataset rows of its training could lie in the test split. Name the dataset it was trained on",
        )


def check_golden(classifier: OnnxModel) -> None:
    """The stored model gives the answers that were recorded of it."""
    card = classifier.card
    figure = comparing_of(card.labels, card.ranks).answer
    if not card.golden:
        raise StageFailure("ParityFailed", "the model's card has no golden examples to check it by; train it again")
    for index, example in enumerate(card.golden):
        apart = difference(classifier, example)
        if not apart <= card.golden_tolerance:
            raise StageFailure(
                "ParityFailed",
                f"the stored model is not the one that was evaluated: golden example {index} differs by "
                f"{apart:.3g} in {figure}, allowed is {card.golden_tolerance:g}. Train it again "
                "(spec.rerun)",
            )


def check_ends(directory: Path, examples: Sequence[Any]) -> None:
    """The stored model answers what lies at the ends of what it reads."""
    try:
        check_edges(directory, examples)
    except TechniqueFailed as failure:
        ways = "Train it again"
        if read_card(directory).reads == "text":
            ways += " with a recipe.maxSequenceLength that its base model can read"
        raise StageFailure(
            "ModelUnsound", f"The model to compress does not answer everything that it may be asked: {failure}. {ways}"
        ) from failure


def recorded_evaluation(artifact: Artifact) -> Evaluation:
    """The evaluation in the model's manifest."""
    training = artifact.manifest.result.training
    if training is None:
        raise StageFailure(
            "EvaluationMissing", f"{artifact.uri} has no recorded evaluation; run its training again (spec.rerun)"
        )
    return training.evaluation


def check_evaluation(recorded: Evaluation, test: Rows, answers: Floats, card: ModelCard) -> None:
    """The stored model reaches the figures that were recorded of it, in each metric that models are compared by."""
    found = quality_of(card, test.targets, answers)
    for name, tolerance in (
        comparing_of(card.labels, card.ranks).slack(test.targets, answers, ROWS_THAT_MAY_DIFFER).items()
    ):
        now, then = found.metrics[name].value, recorded.value(name)
        if then is None:
            raise StageFailure(
                "EvaluationMissing",
                f"the model's recorded evaluation has no {METRICS[name].title}; run its training again (spec.rerun)",
            )
        # Figures are recorded to six digits.
        if recorded.rows != len(test) or not abs(now - then) <= tolerance + 1e-5 * max(0.1, abs(then)):
            raise StageFailure(
                "ParityFailed",
                f"the stored model does not reproduce its evaluation: {METRICS[name].title} {four_decimals(now)} on "
                f"{len(test)} test rows, recorded are {then} on {recorded.rows}; at most {four_decimals(tolerance)} "
                "may differ",
            )


def _in_parts(classifier: OnnxModel, examples: Sequence[Any], progress: Callable[[float], None]) -> Floats:
    found = []
    for start in range(0, len(examples), PROGRESS_ROWS):
        found.append(classifier.answers(examples[start : start + PROGRESS_ROWS]))
        progress(min(1.0, (start + PROGRESS_ROWS) / len(examples)))
    return np.concatenate(found)


def sample(rows: Rows, count: int, seed: int) -> Rows:
    """At most `count` rows, in their order."""
    if len(rows) <= count:
        return rows
    return rows.some(np.sort(np.random.default_rng(seed).permutation(len(rows))[:count]))
