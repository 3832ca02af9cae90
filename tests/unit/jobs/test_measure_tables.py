"""Figures of numbers and of probabilities, against scikit-learn and against what they promise."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error, r2_score, roc_auc_score

from kaon.contract.manifest import GoldenExample
from kaon.tasks.metrics import CLASSIFICATION
from kaon.tasks.registry import TASKS
from kaon_jobs.data.splits import Rows
from kaon_jobs.measure import golden
from kaon_jobs.measure.likelihood import auc
from kaon_jobs.measure.predictions import read_answers, write_predictions
from kaon_jobs.measure.quality import quality
from kaon_jobs.measure.regression import number_quality
from kaon_jobs.report import html

TABLES = TASKS["tabular-classification"].metrics


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[Any, Any]:
    """Classes, and probabilities that know something of them."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    scores = random.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth]
    powers = np.exp(scores)
    return truth, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


class TestNumbers:
    def test_the_figures_are_scikit_learns_and_lie_in_their_intervals(self) -> None:
        random = np.random.default_rng(0)
        truth = 1e6 + 1e3 * random.normal(size=400)
        said = truth + 300 * random.normal(size=400)
        found = number_quality(truth, said[:, None]).metrics
        assert list(found) == ["rmse", "mae", "r2"]
        assert found["rmse"].value == pytest.approx(np.sqrt(mean_squared_error(truth, said)), rel=1e-5)
        assert found["mae"].value == pytest.approx(mean_absolute_error(truth, said), rel=1e-5)
        assert found["r2"].value == pytest.approx(r2_score(truth, said), rel=1e-5)
        for figure in found.values():
            assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high

    @pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
    def test_the_unit_changes_nothing_but_the_unit(self, unit: float) -> None:
        truth, said = np.asarray([1.0, 2, 3, 5]), np.asarray([1.5, 2, 2, 5])
        plain, scaled = number_quality(truth, said).metrics, number_quality(unit * truth, unit * said).metrics
        assert scaled["rmse"].value == pytest.approx(unit * plain["rmse"].value, rel=1e-5)
        assert scaled["r2"].high == pytest.approx(plain["r2"].high, rel=1e-3)

    def test_where_all_true_numbers_are_the_same_there_is_no_share_of_their_variance(self) -> None:
        assert list(number_quality(np.full(5, 3.0), np.arange(5.0)).metrics) == ["rmse", "mae"]
        assert number_quality(np.asarray([1.0]), np.asarray([1.0])).metrics["rmse"].value == 0

    def test_intervals_hold_the_true_figure_as_often_as_they_say(self) -> None:
        random, held = np.random.default_rng(1), {"rmse": 0, "mae": 0}
        true = {"rmse": 1.0, "mae": float(np.sqrt(2 / np.pi))}
        for _ in range(200):
            truth = random.normal(size=200)
            found = number_quality(truth, truth + random.normal(size=200)).metrics
            for name, value in true.items():
                held[name] += (found[name].low or 0) <= value <= (found[name].high or 0)
        assert all(180 <= count <= 199 for count in held.values()), held

    def test_a_hundred_thousand_rows_take_seconds(self) -> None:
        truth = np.random.default_rng(2).normal(size=100_000)
        start = time.process_time()
        number_quality(truth, truth + 1)
        assert time.process_time() - start < 20


class TestProbabilities:
    @pytest.mark.parametrize("classes", [2, 4])
    def test_the_figures_are_scikit_learns(self, classes: int) -> None:
        truth, said = drawn(300, classes)
        found = quality(truth, said, [str(one) for one in range(classes)], TABLES).metrics
        theirs = roc_auc_score(
            truth, said[:, 1] if classes == 2 else said / said.sum(axis=1)[:, None], multi_class="ovr"
        )
        assert found["auc"].value == pytest.approx(theirs, abs=1e-4)
        assert found["logLoss"].value == pytest.approx(log_loss(truth, said), rel=1e-4)
        for name in ("auc", "logLoss"):
            assert (found[name].low or 0) < found[name].value < (found[name].high or 0)

    def test_the_task_says_which_there_are(self) -> None:
        truth, said = drawn(50, 3)
        labels = ["a", "b", "c"]
        assert list(quality(truth, said, labels, TABLES).metrics) == [metric.name for metric in TABLES]
        assert list(quality(truth, said, labels).metrics) == [metric.name for metric in CLASSIFICATION]

    def test_equal_scores_count_half(self) -> None:
        found = auc(np.asarray([0, 0, 1, 1]), np.full((4, 2), 0.5, np.float32))
        assert found is not None and found[0] == 0.5

    def test_classes_without_rows_are_left_out_and_with_one_class_there_is_no_curve(self) -> None:
        truth, said = drawn(200, 2)
        wider = np.column_stack([said, np.zeros(200, np.float32)])
        two, three = auc(truth, said), auc(truth, wider)
        assert two is not None and three is not None and three[0] == pytest.approx(two[0], abs=1e-3)
        assert "auc" not in quality(np.zeros(9, np.int64), said[:9], ["a", "b"], TABLES).metrics

    def test_all_in_order_on_few_rows_is_not_certain(self) -> None:
        found = auc(np.asarray([0, 0, 0, 1, 1, 1]), np.asarray([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3))
        assert found is not None and found[0] == found[2] == 1 and 0.3 < found[1] < 0.6

    def test_an_impossible_class_costs_a_bounded_loss(self) -> None:
        found = quality(np.asarray([0, 1]), np.asarray([[1, 0], [1, 0]], np.float32), ["a", "b"], TABLES).metrics
        assert found["logLoss"].value == pytest.approx(-np.log(1e-15) / 2, rel=1e-6)

    @pytest.mark.parametrize("classes", [2, 3])
    def test_the_interval_of_auc_holds_the_true_one_as_often_as_it_says(self, classes: int) -> None:
        truth, said = drawn(100_000, classes, seed=9)
        true = auc(truth, said)
        assert true is not None
        held = 0
        for seed in range(200):
            found = auc(*drawn(150, classes, seed=seed))
            assert found is not None
            held += found[1] <= true[0] <= found[2]
        assert 180 <= held <= 199


def test_golden_examples_of_numbers_are_spread_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        labels: tuple[str, ...] = ()
        card = SimpleNamespace(predicts="number")

    monkeypatch.setattr(golden, "recorded", lambda model, row: GoldenExample(row=list(row), answer=[1.0]))
    rows = [(float(number),) for number in range(71)]
    made = golden.golden_examples(Model(), rows, np.arange(71.0)[::-1] ** 2, [(None,)])  # type: ignore[arg-type]
    assert [one.row for one in made] == [[70.0], [60], [50], [40], [30], [20], [10], [0], [None]]


def test_predictions_are_read_again_as_they_were_written(tmp_path: Path) -> None:
    ids = np.arange(3)
    numbers = np.asarray([[1.5], [2], [3]], np.float32)
    write_predictions(tmp_path / "numbers", Rows([()] * 3, np.asarray([1.0, 2, 3]), ids), numbers)
    assert read_answers(tmp_path / "numbers").tolist() == numbers.tolist()
    shares = np.asarray([[0.25, 0.75]] * 3, np.float32)
    write_predictions(tmp_path / "classes", Rows([()] * 3, np.asarray([0, 1, 1]), ids), shares)
    assert read_answers(tmp_path / "classes").tolist() == shares.tolist()


def test_a_picture_of_pairs_shows_each_once_and_the_line_where_both_are_the_same() -> None:
    drawn = html.density([0, 0, 10], [0, 0, 5], "true", "predicted", cells=10)
    assert drawn.count("fill-opacity") == 2 and "<title>2</title>" in drawn and ">10</text>" in drawn
    assert "predicted" in drawn and "NaN" not in html.density([1], [1], "x", "y")
