"""Quality figures by hand-made tables; speed, memory and instruction sets by a real tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.quality import expected_calibration_error, quality, scores
from kaon_jobs.measure.speed import instruction_sets, peak_memory
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.programs import evaluate as stage
from kaon_jobs.runtime.graph import softmax
from kaon_jobs.store.artifact import fetch


def sure(*classes: int, of: int = 3, confidence: float = 0.8) -> Any:
    rows = np.full((len(classes), of), (1 - confidence) / (of - 1), dtype=np.float32)
    rows[range(len(classes)), classes] = confidence
    return rows


def test_quality_is_what_a_person_counts() -> None:
    found = quality(np.array([0, 0, 0, 1, 1, 2]), sure(0, 0, 1, 1, 1, 0), ["a", "b", "c"])
    assert found.metrics["accuracy"].value == pytest.approx(4 / 6, abs=1e-6)
    by_label = {figure.label: figure for figure in found.per_class}
    assert (by_label["a"].precision, by_label["a"].recall) == (pytest.approx(2 / 3, abs=1e-6),) * 2
    assert (by_label["b"].precision, by_label["b"].recall) == (pytest.approx(2 / 3, abs=1e-6), 1.0)
    assert (by_label["c"].f1, by_label["c"].support) == (0, 1)
    assert found.metrics["macroF1"].value == pytest.approx((2 / 3 + 0.8 + 0) / 3, abs=1e-6)
    assert found.metrics["f1"].value == pytest.approx((3 * 2 / 3 + 2 * 0.8) / 6, abs=1e-6)
    assert found.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_a_class_that_never_occurs_lowers_macro_f1_instead_of_vanishing() -> None:
    found = quality(np.array([0, 1]), sure(0, 1), ["a", "b", "c"])
    assert found.metrics["macroF1"].value == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.parametrize(
    ("truth", "predicted", "confidence", "error"),
    [
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 1], 0.8, 0.0),
        ([0, 0], [0, 0], 0.8, 0.2),
        ([1, 1], [0, 0], 1.0, 1.0),
    ],
)
def test_calibration_error_is_the_distance_of_confidence_from_accuracy(
    truth: list[int], predicted: list[int], confidence: float, error: float
) -> None:
    found = expected_calibration_error(np.array(truth), sure(*predicted, confidence=confidence))
    assert found == pytest.approx(error, abs=1e-6)


def test_softmax_does_not_overflow() -> None:
    assert softmax(np.array([[1000.0, 1000.0]], dtype=np.float32)).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", "AVX2 AVX512 AVX512_VNNI"),
        ("Features\t: fp asimd asimddp i8mm\n", "NEON DOTPROD I8MM"),
        ("flags\t: fpu\n", "generic"),
    ],
)
def test_instruction_sets_are_named_as_people_know_them(text: str, names: str) -> None:
    assert instruction_sets(text) == names


@pytest.mark.parametrize(("quota", "threads"), [("50000 100000", 1), ("max 100000", None), ("100000000 100000", None)])
def test_threads_follow_the_pods_cpu_limit_and_never_exceed_the_machine(
    tmp_path: Path, quota: str, threads: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cpu_limit(tmp_path) == (threads or cpu_limit(tmp_path / "none"))


def test_a_batch_gives_the_answers_of_its_texts_one_by_one(trained: Result, tmp_path: Path) -> None:
    assert trained.artifact is not None
    fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), tmp_path, kinds={"model"})
    classifier = OnnxTextModel(tmp_path, 1)
    texts = ["the wing", "a fin of the old sea with scale and reef", "leaf " * 100, ""]
    together = classifier.answers(texts)
    alone = np.concatenate([classifier.answers([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    assert classifier.encode(["leaf " * 100])["input_ids"].shape == (1, 16)
    assert peak_memory(tmp_path, texts, 1) > 20_000_000
    (tmp_path / "model.onnx").write_bytes(b"broken")
    with pytest.raises(StageFailure) as caught:
        peak_memory(tmp_path, texts, 1)
    assert caught.value.reason == "MemoryMeasurementFailed"


def test_evaluating_an_artifact_gives_the_figures_of_its_training(
    shop: Any, dataset: Result, trained: Result, context: Context
) -> None:
    assert trained.artifact is not None and dataset.artifact is not None and trained.training is not None
    work = {
        "stage": "evaluate",
        "model": {"uri": trained.artifact.uri, "digest": trained.artifact.digest},
        "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
    }
    job: JobSpec = shop.job("evaluations", work)
    parsed: Any = job.work
    result = stage.run(job, parsed, context)
    assert result.artifact is None and result.training is not None
    # The simple baseline is trained, which an evaluation never does.
    timed = {"latency_ms", "throughput_per_second", "peak_memory_bytes", "device", "baseline"}
    again, before = result.training.evaluation, trained.training.evaluation
    assert again.model_dump(exclude=timed) == before.model_dump(exclude=timed)


def test_a_dataset_is_not_evaluated_as_a_model(shop: Any, dataset: Result, context: Context) -> None:
    assert dataset.artifact is not None
    source = {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest}
    job: JobSpec = shop.job("evaluations", {"stage": "evaluate", "model": source, "dataset": source})
    work: Any = job.work
    with pytest.raises(StageFailure, match="is of a dataset; compressed-model or model was expected"):
        stage.run(job, work, context)


def test_intervals_hold_the_value_and_narrow_with_more_rows() -> None:
    few, many = (
        quality(np.array([0, 0, 1, 1, 2] * times), sure(*[0, 1, 1, 1, 2] * times), ["a", "b", "c"]).metrics
        for times in (4, 100)
    )
    for name in ("accuracy", "macroF1", "precision", "recall", "f1"):
        widths = []
        for found in (few[name], many[name]):
            assert found.low is not None and found.high is not None
            assert found.low <= found.value <= found.high
            widths.append(found.high - found.low)
        assert widths[0] > 3 * widths[1]


def test_a_perfect_score_on_few_rows_is_not_certain() -> None:
    found = quality(np.array([0, 1] * 5), sure(*[0, 1] * 5), ["a", "b", "c"]).metrics["accuracy"]
    assert found.value == found.high == 1 and found.low is not None and 0.6 < found.low < 0.95


def test_the_interval_of_accuracy_covers_what_it_should() -> None:
    # 200 splits of 150 rows of a model that is right nine times of ten: 95 % of the intervals hold 0.9.
    random, held = np.random.default_rng(3), 0
    for _ in range(200):
        truth = random.integers(0, 3, 150)
        wrong = random.random(150) < 0.1
        found = quality(truth, sure(*np.where(wrong, (truth + 1) % 3, truth)), ["a", "b", "c"]).metrics["accuracy"]
        held += (found.low or 0) <= 0.9 <= (found.high or 0)
    assert 180 <= held <= 199


def test_the_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(5)
    truth, probabilities = random.integers(0, 5, 300), random.dirichlet(np.ones(5), 300).astype(np.float32)
    predicted = probabilities.argmax(axis=1)
    found = scores(truth, probabilities)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-6)
    for name, average in (("macroF1", "macro"), ("f1", "weighted")):
        assert found[name] == pytest.approx(f1_score(truth, predicted, average=average), abs=1e-6)
    assert found["precision"] == pytest.approx(precision_score(truth, predicted, average="weighted"), abs=1e-6)
    assert found["recall"] == pytest.approx(recall_score(truth, predicted, average="weighted"), abs=1e-6)
