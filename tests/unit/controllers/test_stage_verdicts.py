"""What a result means: quality gates, minimums, budgets, and what may be used by what comes after."""

from __future__ import annotations

import pytest
from metricvalues import wire

from kaon.api import conditions as c
from kaon.api.dataset import DatasetSpec
from kaon.api.report import CompressionResult
from kaon.api.signature import TEXT_SIGNATURE
from kaon.controllers import display
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import condition, is_true

from .stage_steps import finish_dataset, finish_training, ready, stalled
from .world import (
    COMPRESSION_SPEC,
    DATASET_SPEC,
    NAMESPACE,
    TRAINING_SPEC,
    World,
    artifact,
    compression_result,
    dataset_result,
    training_result,
)


@pytest.mark.parametrize(
    ("gate", "named"),
    [
        ({"minRows": 1000}, "rows is 110, must be at least 1000"),
        ({"minRowsPerClass": 50}, "training rows of 'ham' is 40, must be at least 50"),
        ({"maxMissingRatio": 0.1}, "missing ratio is 0.25, must be at most 0.1"),
        ({"maxDuplicateRatio": 0.1}, "duplicate ratio is 0.5, must be at most 0.1"),
        ({}, "leakage (rows) is 3, must be at most 0"),
    ],
)
def test_a_dataset_that_misses_a_quality_gate_stalls_and_names_figure_and_bound(
    world: World, gate: Object, named: str
) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": gate})
    world.settle()
    world.run(world.jobs("data")[0], dataset_result(missingRatio=0.25, duplicateRatio=0.5, leakage=3))
    world.settle()
    told = stalled(world, "Dataset", "data")
    assert told["status"] == "True"
    assert told["reason"] == c.GATE_FAILED
    assert named in told["message"]
    assert "artifact" not in world.objects[Key("Dataset", NAMESPACE, "data")]["status"]


def test_unreadable_rows_that_were_left_out_are_in_status_and_message(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    world.run(world.jobs("data")[0], dataset_result(unreadable=2, unreadableRatio=0.017857))
    world.settle()
    assert ready(world, "Dataset", "data")["message"].endswith("2 unreadable rows were left out.")
    assert world.objects[Key("Dataset", NAMESPACE, "data")]["status"]["quality"]["unreadable"] == 2


TABLE = {
    "features": [{"name": "age", "type": "number"}, {"name": "town", "type": "category"}],
    "label": {"name": "label"},
}


def test_a_finished_dataset_of_a_table_tells_its_columns(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "task": "tabular-classification", "schema": TABLE})
    world.settle()
    world.run(world.jobs("data")[0], dataset_result())
    world.settle()
    expected = "80 training, 10 validation and 20 test rows of 2 columns and 2 classes."
    assert ready(world, "Dataset", "data")["message"] == expected


def test_a_finished_dataset_of_numbers_to_predict_has_no_classes(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "task": "tabular-regression", "schema": TABLE})
    world.settle()
    result = dataset_result()
    quality = {name: value for name, value in result["dataset"]["quality"].items() if "Class" not in name}
    found = {**result["dataset"], "classes": [], "features": TABLE["features"], "quality": quality}
    world.run(world.jobs("data")[0], {**result, "dataset": found})
    world.settle()
    assert ready(world, "Dataset", "data")["message"] == "80 training, 10 validation and 20 test rows of 2 columns."
    status = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]
    assert not {"classes", "classCount"} & status.keys()
    assert not {"minRowsPerClass", "smallestClass"} & status["quality"].keys()


@pytest.mark.parametrize(
    ("task", "schema", "default", "other"),
    [
        (DATASET_SPEC["task"], DATASET_SPEC["schema"], {"missing": "drop", "duplicates": {"method": "exact"}}, "none"),
        ("tabular-regression", TABLE, {"missing": "keep", "duplicates": {"method": "none"}}, "exact"),
    ],
)
def test_a_default_that_is_written_out_is_the_same_declaration(
    task: str, schema: Object, default: Object, other: str
) -> None:
    def declaration(**clean: object) -> Object:
        spec = {**DATASET_SPEC, "task": task, "schema": schema, "clean": clean}
        return DatasetSpec.model_validate(spec).declared()

    assert declaration(**default) == declaration(missing=default["missing"]) == declaration()
    assert "clean" not in declaration()
    assert declaration(missing="fail")["clean"] == {"missing": "fail"}
    assert declaration(duplicates={"method": other})["clean"] == {"duplicates": {"method": other}}


def test_an_edited_quality_gate_is_judged_again_without_another_job(world: World) -> None:
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": {"minRows": 1000}})
    world.settle()
    assert stalled(world, "Dataset", "data")["reason"] == c.GATE_FAILED
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": {"minRows": 100}})
    world.settle()
    assert ready(world, "Dataset", "data")["status"] == "True"
    assert len(world.jobs_created) == 1


def test_a_training_run_below_its_minimum_stalls_and_its_artifact_is_not_offered(world: World) -> None:
    finish_dataset(world)
    world.apply("TrainingRun", "run", {**TRAINING_SPEC, "evaluation": {"minimum": {"accuracy": 0.99, "recall": 0.5}}})
    world.settle()
    world.run(world.jobs("run")[0], training_result())
    world.settle()
    told = stalled(world, "TrainingRun", "run")
    assert "accuracy is 0.95, must be at least 0.99" in told["message"]
    assert "recall is no figure" in told["message"]
    assert "artifact" not in world.objects[Key("TrainingRun", NAMESPACE, "run")]["status"]


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [("Rejected", "BudgetNotMet"), ("Infeasible", "BudgetInfeasible"), ("Inconclusive", "BudgetInconclusive")],
)
def test_a_compression_that_is_not_accepted_stalls_with_the_pods_sentence(
    world: World, verdict: str, reason: str
) -> None:
    finish_training(world)
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    world.run(world.jobs("small")[0], compression_result(verdict))
    world.settle()
    obj = world.objects[Key("CompressionJob", NAMESPACE, "small")]
    assert stalled(world, "CompressionJob", "small")["reason"] == reason
    assert "nearest: int8-dynamic" in stalled(world, "CompressionJob", "small")["message"]
    assert not is_true(obj, c.ACCEPTED)
    assert "artifact" not in obj["status"]
    assert obj["status"]["verdict"] == verdict


def _inconclusive(world: World, policy: str, *, published: bool) -> Object:
    """A CompressionJob with this policy whose pod has found that two classes have too few rows."""
    finish_training(world)
    budget = {**COMPRESSION_SPEC["budget"], "onInconclusive": policy}
    world.apply("CompressionJob", "small", {**COMPRESSION_SPEC, "budget": budget})
    world.settle()
    told = compression_result("Inconclusive")
    told["compression"] |= {
        "message": "x is inconclusive on the test split: about 24 more test rows of 'grain' (it has 10) would decide.",
        "undecided": [
            {"budget": "maxDrop.macroF1", "class": "grain", "rows": 10, "moreRows": 24, "certainty": 0.82},
            {"budget": "maxDrop.accuracy", "rows": 2189, "moreRowsOfAll": 400, "certainty": 0.9},
        ],
    }
    world.run(world.jobs("small")[0], told | ({"artifact": artifact("c")} if published else {}))
    world.settle()
    return world.objects[Key("CompressionJob", NAMESPACE, "small")]


def test_an_inconclusive_compression_is_not_ready_and_says_of_which_class_how_many_rows_are_missing(
    world: World,
) -> None:
    obj = _inconclusive(world, "Reject", published=False)
    assert stalled(world, "CompressionJob", "small")["reason"] == "BudgetInconclusive"
    assert "24 more test rows of 'grain'" in stalled(world, "CompressionJob", "small")["message"]
    assert not is_true(obj, c.READY) and not is_true(obj, c.ACCEPTED) and "artifact" not in obj["status"]
    assert obj["status"]["undecided"][0] == {
        "budget": "maxDrop.macroF1", "class": "grain", "rows": 10, "moreRows": 24, "certainty": 0.82,
    }  # fmt: skip


def test_an_inconclusive_compression_is_ready_where_the_policy_says_that_it_is_enough(world: World) -> None:
    obj = _inconclusive(world, "Accept", published=True)
    assert is_true(obj, c.READY) and obj["status"]["artifact"]
    accepted = condition(obj, c.ACCEPTED)
    assert accepted is not None and (accepted["status"], accepted["reason"]) == ("True", "BudgetInconclusive")
    assert obj["status"]["verdict"] == "Inconclusive"
    ready = condition(obj, c.READY)
    assert ready is not None and "too few to be sure" in ready["message"]


@pytest.mark.parametrize(("policy", "published"), [("Accept", False), ("Reject", True)])
def test_policy_and_pod_must_agree_before_an_inconclusive_model_may_be_used(
    world: World, policy: str, published: bool
) -> None:
    obj = _inconclusive(world, policy, published=published)
    assert not is_true(obj, c.READY) and not is_true(obj, c.ACCEPTED) and "artifact" not in obj["status"]


def test_kubectl_gets_rounded_figures_and_the_numbers_keep_every_digit(world: World) -> None:
    finish_dataset(world)
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    world.run(world.jobs("run")[0], training_result(metrics=wire(accuracy=0.970306, macroF1=0.9136)))
    world.settle()
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    result = compression_result()
    result["compression"] |= {"sizeRatio": 12.8678, "speedup": {"value": 3.871418, "low": 3.8, "high": 3.9}}
    result["compression"]["evaluation"] = {**result["compression"]["evaluation"], "metrics": wire(accuracy=0.970306)}
    world.run(world.jobs("small")[0], result)
    world.settle()
    trained = world.objects[Key("TrainingRun", NAMESPACE, "run")]["status"]
    compressed = world.objects[Key("CompressionJob", NAMESPACE, "small")]["status"]
    assert trained["display"] == {"quality": "accuracy 0.970, macro-F1 0.914"}
    assert compressed["display"] == {"smaller": "12.87x", "faster": "3.87x", "quality": "accuracy 0.970"}
    accuracy = trained["evaluation"]["metrics"]["accuracy"]["value"]
    assert (accuracy, compressed["speedup"]["value"]) == (0.970306, 3.871418)


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "1.00x"), (0.0123456, "0.0123x"), (123.456, "123.46x"), (2.0**53, "9.01e+15x")]
)
def test_a_ratio_of_any_size_is_shown_in_a_few_digits(value: float, shown: str) -> None:
    result = compression_result()["compression"] | {"sizeRatio": min(value, 2.0**53 - 1)}
    assert display.of_compression(None, CompressionResult.model_validate(result))["smaller"] == shown


def test_what_a_request_to_the_model_holds_is_told_by_each_stage_that_has_made_one(world: World) -> None:
    finish_dataset(world)
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    world.run(world.jobs("run")[0], {**training_result(), "signature": TEXT_SIGNATURE.wire()})
    world.settle()
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    world.run(world.jobs("small")[0], {**compression_result(), "signature": TEXT_SIGNATURE.wire()})
    world.settle()
    for key in (Key("TrainingRun", NAMESPACE, "run"), Key("CompressionJob", NAMESPACE, "small")):
        assert world.objects[key]["status"]["signature"] == TEXT_SIGNATURE.wire()
