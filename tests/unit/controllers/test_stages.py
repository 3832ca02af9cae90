"""The three stages that run a Job, as tables of what is observed and what must follow."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from kaon.api import conditions as c
from kaon.controllers import compressionjob, dataset, trainingrun
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import condition, is_true, timestamp
from kaon.resources import labels

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


@pytest.fixture
def world() -> World:
    return World(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER)


def ready(world: World, kind: str, name: str) -> Object:
    obj = world.objects[Key(kind, NAMESPACE, name)]
    return next(item for item in obj["status"]["conditions"] if item["type"] == c.READY)


def stalled(world: World, kind: str, name: str) -> Object:
    obj = world.objects[Key(kind, NAMESPACE, name)]
    return next(item for item in obj["status"]["conditions"] if item["type"] == c.STALLED)


def finish_dataset(world: World, **quality: Any) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    world.run(world.jobs("data")[0], dataset_result(**quality))
    world.settle()


def finish_training(world: World, **evaluation: Any) -> None:
    finish_dataset(world)
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    world.run(world.jobs("run")[0], training_result(**evaluation))
    world.settle()


def test_a_new_dataset_gets_one_report_one_job_and_the_shared_identity(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    kinds = sorted(key.kind for key in world.objects)
    assert kinds == ["Dataset", "Job", "Report", "RoleBinding", "ServiceAccount"]
    job = world.jobs("data")[0]
    told = json.loads(
        next(
            e["value"] for e in job["spec"]["template"]["spec"]["containers"][0]["env"] if e["name"] == "KAON_JOB_SPEC"
        )
    )
    status = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]
    assert told["inputDigest"] == status["inputDigest"]
    assert told["output"]["uri"] == f"s3://kaon/artifacts/datasets/{status['inputDigest'].removeprefix('sha256:')}"
    assert told["report"] == job["metadata"]["name"] == status["jobName"]


def test_a_finished_dataset_is_ready_with_its_version_and_artifact(world: World) -> None:
    finish_dataset(world)
    obj = world.objects[Key("Dataset", NAMESPACE, "data")]
    assert is_true(obj, c.READY)
    assert obj["status"]["version"] == "a" * 12
    assert obj["status"]["rows"] == {"train": 80, "validation": 10, "test": 20}
    assert len(obj["status"]["history"]) == 1


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


def test_an_edited_quality_gate_is_judged_again_without_another_job(world: World) -> None:
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": {"minRows": 1000}})
    world.settle()
    assert stalled(world, "Dataset", "data")["reason"] == c.GATE_FAILED
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": {"minRows": 100}})
    world.settle()
    assert ready(world, "Dataset", "data")["status"] == "True"
    assert len(world.jobs_created) == 1


def test_a_training_run_without_its_dataset_waits_names_it_and_asks_for_nothing(world: World) -> None:
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    told = ready(world, "TrainingRun", "run")
    assert (told["status"], told["reason"]) == ("False", c.REFERENCE_NOT_FOUND)
    assert "'data'" in told["message"] and "Create it" in told["message"]
    assert stalled(world, "TrainingRun", "run")["status"] == "False"
    assert world.jobs() == []


def test_a_failed_input_is_told_with_its_cause(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "quality": {"minRows": 1000}})
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    world.run(world.jobs("data")[0], dataset_result())
    world.settle()
    told = ready(world, "TrainingRun", "run")
    assert told["reason"] == c.INPUTS_FAILED
    assert "must be at least 1000" in told["message"]


def test_an_edited_cleaning_runs_the_stage_again_under_another_name_and_removes_the_old_children(world: World) -> None:
    finish_dataset(world)
    first = world.jobs("data")[0]["metadata"]["name"]
    world.apply("Dataset", "data", {**DATASET_SPEC, "clean": {"missing": "fail"}})
    world.settle()
    assert [job["metadata"]["name"] for job in world.jobs("data")] != [first]
    assert len(world.jobs("data")) == 1
    assert sum(key.kind == "Report" for key in world.objects) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"backoffLimit": 1},
        {"activeDeadlineSeconds": 60},
        {"ttlSecondsAfterFinished": 60},
        {"podTemplate": {"nodeSelector": {"disk": "fast"}}},
        {"clean": {"missing": "drop", "duplicates": {"method": "exact"}}},
        {"format": "auto"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_cannot_change_the_result_runs_nothing_again(world: World, change: Object) -> None:
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, **change})
    world.settle()
    assert ready(world, "Dataset", "data")["status"] == "True"
    assert len(world.jobs_created) == 1


def test_a_rerun_token_runs_the_same_declaration_again(world: World) -> None:
    finish_dataset(world)
    world.apply("Dataset", "data", {**DATASET_SPEC, "rerun": "once more"})
    world.settle()
    assert len(world.jobs_created) == 2


def test_another_version_of_kaon_and_other_images_run_nothing_again(world: World) -> None:
    finish_dataset(world)
    newer = World(*world.controllers.values(), config=type(world.config)(
        images=type(world.config.images)("jobs:2", "triton:2", "torchserve:2", "router:2"), version="9.9.9",
        storage_uri=world.config.storage_uri, storage_secret=world.config.storage_secret,
    ))  # fmt: skip
    newer.objects = world.objects
    newer.settle()
    assert newer.jobs_created == []


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


def test_a_compression_reads_the_very_dataset_version_that_the_model_was_trained_on(world: World) -> None:
    finish_training(world)
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    env = world.jobs("small")[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    work = json.loads(next(e["value"] for e in env if e["name"] == "KAON_JOB_SPEC"))["work"]
    assert work["dataset"]["digest"] == "sha256:" + "a" * 64
    assert work["model"]["digest"] == "sha256:" + "b" * 64


def test_an_edited_budget_runs_only_the_compression_again(world: World) -> None:
    finish_training(world)
    world.apply("CompressionJob", "small", COMPRESSION_SPEC)
    world.settle()
    world.run(world.jobs("small")[0], compression_result())
    world.settle()
    before = len(world.jobs_created)
    world.apply("CompressionJob", "small", {**COMPRESSION_SPEC, "budget": {"maxAccuracyDrop": 0.02}})
    world.settle()
    created = [name for _, name in world.jobs_created[before:]]
    assert len(created) == 1 and created[0].startswith("small-cjob-")


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
            {"budget": "maxMacroF1Drop", "class": "grain", "rows": 10, "moreRows": 24, "certainty": 0.82},
            {"budget": "maxAccuracyDrop", "rows": 2189, "moreRowsOfAll": 400, "certainty": 0.9},
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
        "budget": "maxMacroF1Drop", "class": "grain", "rows": 10, "moreRows": 24, "certainty": 0.82,
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


def test_a_failed_job_stalls_with_what_the_pod_reported_and_is_not_run_again(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    job = world.jobs("data")[0]
    error = {"reason": "LabelColumnMissing", "message": "No column 'label'; found: text, topic.", "retriable": False}
    world.report(job, {"error": {**error, "time": "2026-01-01T00:00:00Z"}})
    world.end(job, "Failed", "PodFailurePolicy")
    world.settle()
    told = stalled(world, "Dataset", "data")
    assert told["reason"] == "LabelColumnMissing"
    assert "found: text, topic" in told["message"] and "spec.rerun" in told["message"]
    assert len(world.jobs_created) == 1


def test_deleting_a_failed_job_by_hand_tries_again_but_its_time_to_live_does_not(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.apply("Dataset", "brief", {**DATASET_SPEC, "ttlSecondsAfterFinished": 5})
    world.settle()
    for name in ("data", "brief"):
        world.end(world.jobs(name)[0], "Failed")
    world.settle()
    for name in ("data", "brief"):
        world.objects.pop(Key("Job", NAMESPACE, world.jobs(name)[0]["metadata"]["name"]))
    world.settle()
    assert len(world.jobs("data")) == 1
    assert world.jobs("brief") == []
    assert stalled(world, "Dataset", "brief")["status"] == "True"


def test_a_finished_job_that_is_gone_is_not_missed(world: World) -> None:
    finish_dataset(world)
    world.objects.pop(Key("Job", NAMESPACE, world.jobs("data")[0]["metadata"]["name"]))
    world.settle()
    assert world.jobs("data") == []
    assert ready(world, "Dataset", "data")["status"] == "True"


def test_a_complete_job_without_a_result_is_run_again_after_a_grace(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    world.end(world.jobs("data")[0], "Complete")
    plan = world.reconcile(Key("Dataset", NAMESPACE, "data"))
    assert plan.requeue_after is not None and len(world.jobs("data")) == 1
    world.now = world.now.replace(minute=5)
    world.settle()
    assert len(world.jobs_created) == 2 and len(world.jobs("data")) == 1


def test_suspend_starts_nothing_and_suspends_what_runs(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "suspend": True})
    world.settle()
    assert world.jobs() == []
    assert ready(world, "Dataset", "data")["reason"] == c.SUSPENDED
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    world.apply("Dataset", "data", {**DATASET_SPEC, "suspend": True})
    world.settle()
    assert world.jobs("data")[0]["spec"]["suspend"] is True
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    assert world.jobs("data")[0]["spec"]["suspend"] is False
    assert len(world.jobs_created) == 1


def test_kueues_label_goes_to_the_job_which_is_born_suspended_and_left_to_the_queue(world: World) -> None:
    obj = world.apply("Dataset", "data", DATASET_SPEC)
    obj["metadata"]["labels"] = {labels.QUEUE_NAME: "team", "app.kubernetes.io/instance": "argocd-app"}
    world.settle()
    job = world.jobs("data")[0]
    assert job["metadata"]["labels"][labels.QUEUE_NAME] == "team"
    assert "app.kubernetes.io/instance" not in job["metadata"]["labels"]
    assert job["spec"]["suspend"] is True
    assert ready(world, "Dataset", "data")["reason"] == "Queued"


def test_a_job_whose_pods_the_cluster_refuses_says_where_to_look(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    job = world.jobs("data")[0]
    job["status"] = {"startTime": timestamp(world.now)}
    plan = world.reconcile(Key("Dataset", NAMESPACE, "data"))
    assert ready(world, "Dataset", "data")["reason"] == c.PENDING
    assert plan.requeue_after == 31
    world.now += timedelta(seconds=31)
    assert world.reconcile(Key("Dataset", NAMESPACE, "data")).requeue_after is None
    told = ready(world, "Dataset", "data")
    assert told["reason"] == "PodsRefused" and f"kubectl describe job {job['metadata']['name']}" in told["message"]
    job["status"]["active"] = 1
    world.settle()
    assert ready(world, "Dataset", "data")["reason"] == c.PENDING


@pytest.mark.parametrize("status", [{}, {"active": 1}, {"succeeded": 1}])
def test_a_job_that_is_not_looked_at_yet_or_has_a_pod_is_not_refused_any(world: World, status: Object) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    started = {"startTime": timestamp(world.now)} if status else {}
    world.jobs("data")[0]["status"] = {**status, **started}
    world.now += timedelta(hours=1)
    world.settle()
    assert ready(world, "Dataset", "data")["reason"] == c.PENDING


def test_a_resumed_training_says_so(world: World) -> None:
    finish_dataset(world)
    world.apply("TrainingRun", "run", TRAINING_SPEC)
    world.settle()
    job = world.jobs("run")[0]
    job["status"] = {"active": 1, "ready": 1, "failed": 1}
    checkpoint = {"step": 40, "uri": "s3://x", "time": "2026-01-01T00:00:00Z"}
    world.report(job, {"resumedFromStep": 40, "lastCheckpoint": checkpoint, "progress": {"percent": 50}})
    world.settle()
    status = world.objects[Key("TrainingRun", NAMESPACE, "run")]["status"]
    assert status["resumedFromStep"] == 40 and status["lastCheckpoint"]["step"] == 40
    assert status["attempts"] == 2
    assert "Resumed from the checkpoint at step 40" in ready(world, "TrainingRun", "run")["message"]


def test_a_spec_that_this_version_cannot_read_stalls_with_the_field(world: World) -> None:
    world.apply("Dataset", "data", {**DATASET_SPEC, "task": "telepathy"})
    world.settle()
    told = stalled(world, "Dataset", "data")
    assert told["reason"] == c.INVALID_SPEC and "spec.task" in told["message"]


def test_without_any_store_the_resource_says_where_to_set_one() -> None:
    config = type(World().config)(images=World().config.images, version="0.1.0")
    world = World(dataset.CONTROLLER, config=config)
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    assert "spec.storage.uri" in stalled(world, "Dataset", "data")["message"]


def test_a_source_with_a_secret_of_its_own_is_opened_with_it_and_keeps_the_digest(world: World) -> None:
    finish_dataset(world)
    sources = [{**DATASET_SPEC["sources"][0], "secretRef": {"name": "mine"}}, DATASET_SPEC["sources"][1]]
    before = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]["inputDigest"]
    world.apply("Dataset", "other", {**DATASET_SPEC, "sources": sources})
    world.settle()
    assert world.objects[Key("Dataset", NAMESPACE, "other")]["status"]["inputDigest"] == before
    pod = world.jobs("other")[0]["spec"]["template"]["spec"]
    assert {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v} == {"mine", "kaon-store"}
