"""Tasks are found by their files, and a name of a metric means one thing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from metricvalues import metrics

from kaon.api.evaluation import Evaluation, SimpleBaseline, beside_baseline
from kaon.controllers.conditions import State
from kaon.controllers.metrics import foreign_metrics, headline, metric_gates, task_of
from kaon.tasks.base import Metric, Task
from kaon.tasks.metrics import ACCURACY, CLASSIFICATION, ECE, MACRO_F1
from kaon.tasks.registry import COMPARED, METRICS, TASKS, _metrics

RMSE = Metric("rmse", "RMSE", "Root of the mean squared error.", better="lower", most=math.inf)
REGRESSION = Task("regression", (RMSE,), ("rmse",), ("rmse",), "rmse", "number", ("number",), 1)


def test_each_task_is_whole() -> None:
    assert TASKS
    for name, task in TASKS.items():
        assert task.name == name
        named = (*task.headline, *task.compared, task.stopping)
        assert not task.unknown(named), f"{name} has no metric of such a name"
        assert all(metric.about.endswith(".") for metric in task.metrics)


def test_a_name_means_one_metric_in_all_tasks() -> None:
    other = Task("other", (replace(ACCURACY, better="lower"),), (), (), "accuracy", "class", ("text",), 1)
    with pytest.raises(ValueError, match="different things by the metric accuracy"):
        _metrics([*TASKS.values(), other])
    assert set(COMPARED) <= METRICS.keys()


@pytest.mark.parametrize(
    ("metric", "before", "after", "lost"),
    [(ACCURACY, 0.9, 0.8, 0.1), (ACCURACY, 0.8, 0.9, -0.1), (RMSE, 2.0, 3.5, 1.5), (ECE, 0.2, 0.1, -0.1)],
)
def test_a_loss_is_what_became_worse(metric: Metric, before: float, after: float, lost: float) -> None:
    assert metric.loss(before, after) == pytest.approx(lost)


def test_a_metric_knows_its_range() -> None:
    assert ACCURACY.holds(1) and not ACCURACY.holds(1.01) and not ACCURACY.holds(math.nan)
    assert RMSE.holds(1e9) and not RMSE.holds(-1) and not RMSE.holds(math.inf)
    assert ACCURACY.is_share and not RMSE.is_share
    assert (ACCURACY.scale, RMSE.scale) == (1.0, 1.0)


def test_a_metric_of_another_task_stalls_with_the_field_the_name_and_those_that_there_are() -> None:
    named = {"spec.evaluation.minimum": ["accuracy"], "spec.evaluation.maximum": ["rmse"]}
    state = foreign_metrics(TASKS["text-classification"], named)
    assert isinstance(state, State) and state.stalled and state.reason == "MetricUnknown"
    assert state.message == (
        "spec.evaluation.maximum names 'rmse', which text-classification does not measure. Its metrics are "
        f"{', '.join(metric.name for metric in CLASSIFICATION)}."
    )
    assert foreign_metrics(REGRESSION, {"spec.evaluation.maximum": ["rmse"]}) is None


def test_an_unknown_task_stalls() -> None:
    state = task_of("translation")
    assert isinstance(state, State) and state.reason == "TaskUnknown"
    assert "It knows tabular-classification, tabular-regression, text-classification" in state.message


def test_gates_stand_in_the_tasks_order_and_ask_what_the_metric_means() -> None:
    found = Evaluation(split="test", rows=10, metrics=metrics(accuracy=0.9, ece=0.2))
    gates = metric_gates(TASKS["text-classification"], found, {"macroF1": 0.5, "accuracy": 0.8}, {"ece": 0.1})
    assert [(str(gate), gate.passed) for gate in gates] == [
        ("accuracy is 0.9, must be at least 0.8", True),
        ("macro-F1 is no figure, must be at least 0.5", False),
        ("calibration error is 0.2, must be at most 0.1", False),
    ]


def test_the_headline_has_what_was_measured() -> None:
    task = TASKS["text-classification"]
    assert headline(task, Evaluation(split="test", rows=1, metrics=metrics(macroF1=0.5, accuracy=0.25)), 3) == (
        "accuracy 0.250, macro-F1 0.500"
    )
    assert headline(task, Evaluation(split="test", rows=1), 3) == headline(task, None, 3) == ""
    assert MACRO_F1.title == "macro-F1"


@pytest.mark.parametrize(
    ("accuracy", "macro_f1", "word"),
    [(0.8, 0.7, "worse"), (0.95, 0.9, "better"), (0.95, 0.7, "better in one figure and worse in another")],
)
def test_the_message_says_how_the_model_stands_beside_the_baseline(accuracy: float, macro_f1: float, word: str) -> None:
    simple = SimpleBaseline(name="linear SVM", metrics=metrics(accuracy=accuracy, macroF1=macro_f1))
    found = Evaluation(split="test", rows=9, metrics=metrics(accuracy=0.9, macroF1=0.8, ece=0.1), baseline=simple)
    told = beside_baseline(TASKS["text-classification"], found)
    assert told == f"A linear SVM is {word}: accuracy {accuracy:.4f}, macro-F1 {macro_f1:.4f}."


def test_an_equal_baseline_is_just_as_good_and_without_one_nothing_is_said() -> None:
    found = Evaluation(split="test", rows=9, metrics=metrics(accuracy=0.9))
    assert beside_baseline(TASKS["text-classification"], found) == ""
    simple = SimpleBaseline(name="mean", metrics=found.metrics)
    told = beside_baseline(TASKS["text-classification"], found.model_copy(update={"baseline": simple}))
    assert told == "A mean is just as good: accuracy 0.9000."
