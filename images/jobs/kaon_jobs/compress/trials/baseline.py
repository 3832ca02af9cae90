"""The model as it was trained: fetched, verified, and asked again before anything is compared with it.

Touches the store, the scratch directory and onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaon.api.evaluation import Evaluation
from kaon.contract.jobspec import CompressWork
from kaon.contract.manifest import Manifest
from kaon.tasks.metrics import ACCURACY, MACRO_F1
from kaon_jobs.compress.families.forms import TRAINED_FILES
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.statistics.quality import Classes
from kaon_jobs.compress.trials.leak import check_held_out
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows, classes_of, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure, TechniqueFailed
from kaon_jobs.measure.golden import input_of
from kaon_jobs.measure.quality import quality
from kaon_jobs.predict.onnx_model import CARD_FILE, Floats, OnnxModel
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
    labels: list[str]
    train: Rows
    validation: Rows
    test: Rows
    validation_probabilities: Floats
    test_probabilities: Floats

    @property
    def test_classes(self) -> Classes:
        """What the baseline says of each test row."""
        return np.asarray(self.test_probabilities.argmax(axis=1), dtype=np.int64)


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
    test_probabilities = _in_parts(
        classifier, test.inputs, lambda share: report.progress("checking the baseline", 3 + 5 * share)
    )
    check_evaluation(recorded_evaluation(artifact), test, test_probabilities, labels)
    return Baseline(
        artifact,
        directory,
        labels,
        train,
        validation,
        test,
        classifier.answers(validation.inputs),
        test_probabilities,
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
    if not card.golden:
        raise StageFailure("ParityFailed", "the model's card has no golden examples to check it by; train it again")
    for index, example in enumerate(card.golden):
        (probabilities,) = classifier.answers([input_of(example)])
        difference = float(np.abs(probabilities - np.asarray(example.answer)).max())
        if not difference <= card.golden_tolerance:
            raise StageFailure(
                "ParityFailed",
                f"the stored model is not the one that was evaluated: golden example {index} differs by "
                f"{difference:.3g} in a probability, allowed is {card.golden_tolerance:g}. Run the training again "
                "(spec.rerun)",
            )


def check_ends(directory: Path, examples: Sequence[Any]) -> None:
    """The stored model answers a text of full length and an empty one."""
    try:
        check_edges(directory, examples)
    except TechniqueFailed as failure:
        raise StageFailure(
            "ModelUnsound",
            f"The model to compress does not answer every text: {failure}. Train it again with a "
            "recipe.maxSequenceLength that its base model can read",
        ) from failure


def recorded_evaluation(artifact: Artifact) -> Evaluation:
    """The evaluation in the model's manifest."""
    training = artifact.manifest.result.training
    if training is None or any(training.evaluation.value(name) is None for name in (ACCURACY.name, MACRO_F1.name)):
        raise StageFailure(
            "EvaluationMissing", f"{artifact.uri} has no recorded evaluation; run its training again (spec.rerun)"
        )
    return training.evaluation


def check_evaluation(recorded: Evaluation, test: Rows, probabilities: Floats, labels: list[str]) -> None:
    """The stored model reaches the accuracy and macro-F1 that were recorded of it."""
    found = quality(test.targets, probabilities, labels)
    allowed = ROWS_THAT_MAY_DIFFER / len(test)
    smallest = min((one.support for one in found.per_class if one.support), default=1)
    # One row of the smallest class moves its F1 by up to about 2 / rows, and macro-F1 by that over the classes.
    allowed_f1 = ROWS_THAT_MAY_DIFFER * 2 / smallest / len(labels)
    for metric, tolerance in ((ACCURACY, allowed), (MACRO_F1, allowed_f1)):
        now, then = found.metrics[metric.name].value, recorded.value(metric.name)
        if then is None or recorded.rows != len(test) or not abs(now - then) <= tolerance + 1e-6:
            raise StageFailure(
                "ParityFailed",
                f"the stored model does not reproduce its evaluation: {metric.title} {now:.4f} on {len(test)} test "
                f"rows, recorded are {then} on {recorded.rows}; at most {tolerance:.4f} may differ",
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
