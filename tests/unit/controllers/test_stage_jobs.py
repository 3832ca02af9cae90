"""The life of a stage's Job: failed, suspended, queued, refused, gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from knownkeys import signed

from kaon.api import conditions as c
from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import EXIT_TERMINATED, EXIT_WRONG_INPUT
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import timestamp
from kaon.resources import labels

from .stage_steps import finish_dataset, ready, stalled
from .world import (
    DATASET_SPEC,
    NAMESPACE,
    TRAINING_SPEC,
    World,
    dataset_result,
)


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
    assert not plan.look_up
    world.now = world.now.replace(minute=5)
    # Not before its Report was read: the watch that would bring the result may be late.
    name = world.jobs("data")[0]["metadata"]["name"]
    assert world.reconcile(Key("Dataset", NAMESPACE, "data")).look_up == {Key("Report", NAMESPACE, name)}
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


def test_a_run_that_finds_the_artifact_of_an_earlier_one_is_not_told_as_another(world: World) -> None:
    finish_dataset(world)
    name = world.jobs("data")[0]["metadata"]["name"]
    for kind in ("Job", "Report"):
        world.objects.pop(Key(kind, NAMESPACE, name))
    world.now += timedelta(minutes=5)
    world.settle()
    world.run(world.jobs("data")[0], {**dataset_result(), "reused": True})
    world.settle()
    status = world.objects[Key("Dataset", NAMESPACE, "data")]["status"]
    assert status["reused"] is True
    assert [item["outcome"] for item in status["history"]] == ["Succeeded"]


def test_a_pod_that_was_told_to_stop_is_an_attempt_that_the_job_does_not_count(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    job = world.jobs("data")[0]
    job["status"] = {"active": 1, "ready": 1}
    world.report(job, {"pod": "second", "attempt": 2})
    world.settle()
    assert world.objects[Key("Dataset", NAMESPACE, "data")]["status"]["attempts"] == 2


def test_an_exit_by_sigterm_does_not_count_against_the_backoff_limit(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    rules = world.jobs("data")[0]["spec"]["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
    }
    assert by_code == {EXIT_WRONG_INPUT: "FailJob", EXIT_TERMINATED: "Ignore"}


# -- what a Job's pods are told ----------------------------------------------------------------------------------------


def report_of(world: World, name: str = "data") -> Object:
    key = Key("Dataset", NAMESPACE, name)
    return world.objects[Key("Report", NAMESPACE, world.objects[key]["status"]["jobName"])]


def test_a_job_that_is_made_again_to_the_same_end_keeps_its_report(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    world.report(world.jobs("data")[0], {"attempt": 1, "lastCheckpoint": {"step": 1, "uri": "s3://x", "time": "t"}})
    before = report_of(world)["metadata"]["uid"]
    world.objects.pop(Key("Job", NAMESPACE, world.jobs("data")[0]["metadata"]["name"]))
    world.settle()
    assert len(world.jobs_created) == 2
    assert report_of(world)["metadata"]["uid"] == before and report_of(world)["status"]["attempt"] == 1


def test_a_job_that_is_made_again_and_told_something_else_gets_a_new_report(world: World) -> None:
    """As after an upgrade, whose pods know another contract, or where an administrator has raised a budget."""
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    key, name = Key("Dataset", NAMESPACE, "data"), world.jobs("data")[0]["metadata"]["name"]
    world.config = replace(world.config, version="9.9.9", budgets=Budgets(rows=7))
    world.settle()
    assert world.told(world.jobs("data")[0]).provenance.kaon_version == "0.1.0", "a Job that runs is left alone"
    world.objects.pop(Key("Job", NAMESPACE, name))
    # Not before it was read: its Job may have told a result.
    plan = world.reconcile(key)
    assert plan.look_up == {Key("Report", NAMESPACE, name)} and plan.requeue_after is not None
    assert Key("Report", NAMESPACE, name) not in world.objects and world.jobs("data") == []
    world.settle()
    told = world.told(world.jobs("data")[0])
    assert (told.provenance.kaon_version, told.budgets) == ("9.9.9", Budgets(rows=7))


@pytest.mark.parametrize("part", ["job", "jobSignature"])
def test_a_report_that_was_there_before_its_job_tells_what_the_operator_tells_or_is_replaced(
    world: World, part: str
) -> None:
    """One of an older operator has no JobSpec; one of somebody else has another, or is signed with another key."""
    world.apply("Dataset", "data", {**DATASET_SPEC, "suspend": True})
    world.settle()
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    job, wanted = world.jobs("data")[0], report_of(world)["spec"]
    for forged in ({name: text for name, text in wanted.items() if name != part}, {**wanted, part: "{}"}):
        world.objects.pop(Key("Job", NAMESPACE, job["metadata"]["name"]))
        report_of(world)["spec"] = forged
        world.settle()
        assert report_of(world)["spec"] == wanted and len(world.jobs("data")) == 1


def test_the_job_of_an_older_operator_runs_to_its_end_with_its_report(world: World) -> None:
    """Its pods were told by a variable, and its Report tells nothing."""
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    job, told = world.jobs("data")[0], world.told(world.jobs("data")[0])
    before = report_of(world)
    before["spec"] = {name: text for name, text in before["spec"].items() if name not in ("job", "jobSignature")}
    world.settle()
    times = {"startTime": timestamp(world.now), "completionTime": timestamp(world.now)}
    world.report(job, signed(told, {**dataset_result(), **times}))
    world.end(job, "Complete")
    world.settle()
    assert ready(world, "Dataset", "data")["status"] == "True"
    assert len(world.jobs_created) == 1 and report_of(world)["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_report_that_is_deleted_while_its_job_runs_is_made_again(world: World) -> None:
    world.apply("Dataset", "data", DATASET_SPEC)
    world.settle()
    before = report_of(world)["spec"]
    world.objects.pop(Key("Report", NAMESPACE, world.jobs("data")[0]["metadata"]["name"]))
    world.settle()
    assert report_of(world)["spec"] == before and len(world.jobs_created) == 1
