"""The train and evaluate stages on tables: what they leave, how it is asked again, what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tablesplits import MIXED, Split, features_of, mixed_rows, publish_splits

from kaon.api.dataset import Feature
from kaon.api.report import Result
from kaon.contract.jobspec import EvaluateWork, TrainWork
from kaon.contract.manifest import Manifest
from kaon.tasks.registry import TASKS
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.tables import boosting, network
from kaon_jobs.learn.tables.training import TrainedTable
from kaon_jobs.measure.predictions import read_answers
from kaon_jobs.predict.opening import open_model
from kaon_jobs.programs import evaluate, train
from kaon_jobs.report.reporter import Reporter

CLASSES, NUMBERS = "tabular-classification", "tabular-regression"
Publish = Callable[..., Result]


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of what is left behind, not of how good it is."""
    monkeypatch.setattr(boosting, "MOST_ROUNDS", 40)
    monkeypatch.setattr(network, "EPOCHS", 8)


@pytest.fixture
def published(shop: Any, tmp_path: Path) -> Publish:
    """Makes a dataset artifact of 200 mixed rows, or of what is given."""

    def publish(
        task: str, splits: dict[str, Split] | None = None, features: list[Feature] | None = None, token: str = ""
    ) -> Result:
        rows, values = mixed_rows(200)
        classes = ["low", "high"] if task == CLASSES else []
        targets = (values > 0).astype(int) if classes else 100 + 5 * values
        given = splits or {
            "train": (rows[:120], targets[:120]),
            "validation": (rows[120:150], targets[120:150]),
            "test": (rows[150:], targets[150:]),
        }
        used = features or MIXED
        label: dict[str, Any] = {"name": "label", **({"classes": classes} if classes else {})}
        schema = {"features": [feature.wire() for feature in used], "label": label}
        job = shop.job("datasets", {**shop.dataset_work(), "task": task, "schema": schema}, token=f"{tmp_path}{token}")
        return publish_splits(job, tmp_path / f"splits{task}{token}", used, given, classes)

    return publish


def work_of(task: str, dataset: Result, base: str = "builtin:auto", **recipe: Any) -> dict[str, Any]:
    assert dataset.artifact is not None
    return {
        "stage": "train",
        "task": task,
        "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
        "model": {"base": base},
        "recipe": recipe,
        "checkpoint": {},
    }


def trained(shop: Any, work: dict[str, Any], workdir: Path) -> Result:
    workdir.mkdir(parents=True)
    job = shop.job("trainingruns", work, token=str(workdir))
    return train.run(job, TrainWork.model_validate(work), Context(Reporter(None, None), workdir, workdir.name))


def manifest_of(result: Result) -> Manifest:
    assert result.artifact is not None
    folder = Path(result.artifact.uri.removeprefix("file:///mnt"))
    return Manifest.model_validate_json((folder / "kaon.json").read_bytes())


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_a_model_of_a_table_is_trained_proved_measured_and_recorded(
    shop: Any, published: Publish, tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        result = trained(shop, work_of(task, published(task)), tmp_path / "run")
    assert result.training is not None
    evaluation, known = result.training.evaluation, TASKS[task]
    assert evaluation.metrics.keys() == {metric.name for metric in known.metrics} and evaluation.rows == 50
    assert evaluation.baseline is not None and evaluation.baseline.metrics.keys() == evaluation.metrics.keys()
    assert evaluation.latency_ms is not None and evaluation.peak_memory_bytes and evaluation.size_bytes
    assert len(evaluation.per_class) == (2 if known.has_classes else 0)

    card = manifest_of(result).model
    assert card is not None and card.reads == "table" and card.base_model == "builtin:auto"
    assert [(column.name, column.type) for column in card.columns or []] == [(one.name, one.type) for one in MIXED]
    assert sorted((card.columns or [])[2].categories) == ["blue", "green", "red"]
    assert [(one.name, one.datatype) for one in card.signature.inputs] == [
        *(("size", "FP64"), ("weight", "FP64"), ("colour", "BYTES"), ("sold", "BYTES"))
    ]
    outputs = [("label", "BYTES"), ("probabilities", "FP32")] if known.has_classes else [("prediction", "FP64")]
    assert [(one.name, one.datatype) for one in card.signature.outputs] == outputs
    assert card.serving_files == ["model.onnx", "card.json"]

    model = open_model(tmp_path / "run/model", 1)
    assert [None] * 4 in [one.row for one in card.golden] and len(card.golden) == 11
    for golden in card.golden:
        (answer,) = model.answers([tuple(golden.row or [])])
        assert answer == pytest.approx(golden.answer, abs=card.golden_tolerance)
        assert golden.label is None or golden.label == card.labels[int(answer.argmax())]
    page = (tmp_path / "run/model/report.html").read_text()
    for said in ("parity of the exported model", "linear", "lightgbm", "mlp", "rows not learnt from"):
        assert said in page
    assert ("Predicted against true" in page) != known.has_classes and ("Confusion" in page) == known.has_classes
    assert "rows not learnt from: " in caplog.text


def test_recorded_predictions_of_numbers_give_the_recorded_figures(
    shop: Any, published: Publish, tmp_path: Path
) -> None:
    result = trained(shop, work_of(NUMBERS, published(NUMBERS), "builtin:linear"), tmp_path / "run")
    _, values = mixed_rows(200)
    said = read_answers(tmp_path / "run/model/predictions-test.parquet")
    assert said.shape == (50, 1) and (tmp_path / "run/model/predictions-validation.parquet").exists()
    rmse = float(np.sqrt(np.mean((said[:, 0] - (100 + 5 * values[150:])) ** 2)))
    assert result.training is not None and result.training.evaluation.value("rmse") == pytest.approx(rmse, rel=1e-4)
    tolerance = json.loads((tmp_path / "run/model/card.json").read_text())["goldenTolerance"]
    assert tolerance == pytest.approx(1e-4 * 5 * values[:120].std(), rel=0.3)


@pytest.mark.parametrize("base", ["builtin:linear", "builtin:lightgbm", "builtin:mlp"])
@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_without_a_validation_split_and_with_all_of_one_class_to_test(
    shop: Any, published: Publish, tmp_path: Path, task: str, base: str
) -> None:
    rows, values = mixed_rows(120)
    targets = (values > 0).astype(int) if task == CLASSES else values
    same = [0 if task == CLASSES else 4.0] * 20
    dataset = published(task, {"train": (rows[:100], targets[:100]), "test": (rows[100:], same)})
    result = trained(shop, work_of(task, dataset, base), tmp_path / "run")
    assert result.training is not None
    # What these rows do not define is not there.
    assert not {"auc", "r2"} & result.training.evaluation.metrics.keys()


def test_an_export_that_answers_otherwise_is_refused(
    shop: Any, published: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = TrainedTable.graph
    monkeypatch.setattr(
        TrainedTable, "graph", lambda made: graph(replace(made, scale=replace(made.scale, bias=made.scale.bias + 1)))
    )
    with pytest.raises(StageFailure, match="answers differ") as caught:
        trained(shop, work_of(NUMBERS, published(NUMBERS), "builtin:linear"), tmp_path / "run")
    assert caught.value.reason == "ParityFailed"


class TestEvaluating:
    def evaluated(self, shop: Any, model: Result, dataset: Result, workdir: Path) -> Result:
        assert model.artifact is not None and dataset.artifact is not None
        work = {
            "stage": "evaluate",
            "model": {"uri": model.artifact.uri, "digest": model.artifact.digest},
            "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
        }
        workdir.mkdir()
        job = shop.job("evaluations", work, token=str(workdir))
        return evaluate.run(job, EvaluateWork.model_validate(work), Context(Reporter(None, None), workdir, "one"))

    @pytest.mark.parametrize("task", [CLASSES, NUMBERS])
    def test_it_gives_the_figures_of_the_training(
        self, shop: Any, published: Publish, tmp_path: Path, task: str
    ) -> None:
        dataset = published(task)
        model = trained(shop, work_of(task, dataset, "builtin:linear"), tmp_path / "run")
        again = self.evaluated(shop, model, dataset, tmp_path / "evaluated")
        assert again.training is not None and model.training is not None
        assert again.training.evaluation.metrics == model.training.evaluation.metrics

    def test_other_columns_are_refused_by_name(self, shop: Any, published: Publish, tmp_path: Path) -> None:
        model = trained(shop, work_of(NUMBERS, published(NUMBERS), "builtin:linear"), tmp_path / "run")
        other = features_of(size="number", mass="number", colour="category", sold="datetime")
        rows, values = mixed_rows(20)
        dataset = published(NUMBERS, {"test": (rows, values)}, other, token="other")
        with pytest.raises(StageFailure) as caught:
            self.evaluated(shop, model, dataset, tmp_path / "evaluated")
        assert caught.value.reason == "ColumnsMismatch"
        assert "weight (number) is missing; mass (number) is not a column of the model" in caught.value.message

    def test_a_model_of_numbers_is_not_held_against_classes(
        self, shop: Any, published: Publish, tmp_path: Path
    ) -> None:
        model = trained(shop, work_of(NUMBERS, published(NUMBERS), "builtin:linear"), tmp_path / "run")
        with pytest.raises(StageFailure, match="the model knows numbers, the dataset low, high") as caught:
            self.evaluated(shop, model, published(CLASSES), tmp_path / "evaluated")
        assert caught.value.reason == "LabelsMismatch"
