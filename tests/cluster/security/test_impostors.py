"""Objects that look like Kaon's, or stand where Kaon's would: they are not adopted, and nobody's own is taken over."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from harness import OperatorProcess, eventually
from security.attempts import SPECS, Object, Team, ready

LABELS = {"app.kubernetes.io/managed-by": "kaon"}
SETTLED_SECONDS = 4
"""Longer than any reaction of the operator takes."""


def config_map(name: str, metadata: Object | None = None) -> Object:
    found = {"name": name, **(metadata or {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": found, "data": {"mine": "yes"}}


def owner(obj: Object) -> Object:
    """An owner reference as Kaon's children carry it."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
    }


def job(name: str, metadata: Object | None = None) -> Object:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "mine", "image": "evil.example/mine", "securityContext": security}
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    found = {"name": name, **(metadata or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": found,
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


@pytest.fixture(scope="module")
def victim(team: Team) -> Object:
    """A resource of somebody else, with its Job."""
    obj = team.made(team.resource("Dataset", "victim"))
    team.pods(obj)
    return obj


def unchanged(team: Team, victim: Object) -> bool:
    """Whether the victim and its Job are the very ones of before, and no Job is there beside."""
    now = team.get("Dataset", "victim")
    assert now is not None
    selector = f"kaon.dev/owner-uid={victim['metadata']['uid']}"
    jobs = [item["metadata"]["name"] for item in team.list("Job", selector)]
    same = now["status"]["inputDigest"] == victim["status"]["inputDigest"]
    return bool(same and ready(now)["reason"] == "Pending" and jobs == [victim["status"]["jobName"]])


def test_labels_alone_make_nothing_kaons(team: Team, victim: Object, operator: OperatorProcess) -> None:
    labels = {
        **LABELS,
        "kaon.dev/owner": "victim",
        "kaon.dev/owner-kind": "Dataset",
        "kaon.dev/owner-uid": victim["metadata"]["uid"],
    }
    team.put(config_map("labelled", {"labels": labels}))
    team.put(job("labelled", {"labels": labels}))
    time.sleep(SETTLED_SECONDS)
    assert (team.get("ConfigMap", "labelled") or {})["data"] == {"mine": "yes"}
    assert team.get("Job", "labelled") is not None
    team.delete("Job", "labelled")
    # A Job deleted so stays until the garbage collector has freed its pods.
    eventually(lambda: team.get("Job", "labelled") is None, "the Job is gone")
    assert unchanged(team, victim)


def test_an_owner_reference_without_labels_makes_nothing_kaons(team: Team, victim: Object) -> None:
    team.put(config_map("owned", {"ownerReferences": [owner(victim)]}))
    time.sleep(SETTLED_SECONDS)
    assert team.get("ConfigMap", "owned") is not None
    assert unchanged(team, victim)


@pytest.mark.parametrize("make", [config_map, job], ids=["configmap", "job"])
def test_who_gives_an_object_away_to_a_resource_loses_it_and_the_resource_is_as_before(
    team: Team, victim: Object, make: Any
) -> None:
    """Labels and an owner reference are how Kaon knows its own: what is not planned is deleted."""
    given = make("given-away", {"labels": LABELS, "ownerReferences": [owner(victim)]})
    team.put(given)
    eventually(lambda: team.get(given["kind"], "given-away") is None, "the object given away is deleted")
    assert unchanged(team, victim)


def test_an_object_given_to_a_resource_of_another_team_is_none_of_its_business(
    team: Team, victim: Object, make_team: Any, operator: OperatorProcess
) -> None:
    other: Team = make_team()
    # The garbage collector would delete it at once; a finalizer lets it be seen.
    metadata = {"labels": LABELS, "ownerReferences": [owner(victim)], "finalizers": ["kaon.dev/test"]}
    other.put(config_map("across", metadata))
    time.sleep(SETTLED_SECONDS)
    pruned = [line for line in operator.log.splitlines() if '"pruned"' in line and f'"{other.name}"' in line]
    assert pruned == []
    other.patch("ConfigMap", "across", {"metadata": {"finalizers": None}})
    assert unchanged(team, victim)


def test_a_job_that_stands_where_a_stages_would_is_not_taken_for_it(team: Team) -> None:
    """The name of a stage's Job can be foretold; whoever is there first does not become the stage."""
    first = team.made(team.resource("Dataset", "foretold", suspend=True))
    name = first["status"]["jobName"]
    team.put(job(name, {"labels": LABELS}))
    team.patch("Dataset", "foretold", {"spec": {"suspend": False}})
    told = team.until_status("Dataset", "foretold", "NameTaken")
    assert name in ready(told)["message"]
    stranger = team.get("Job", name)
    assert stranger is not None and "ownerReferences" not in stranger["metadata"]
    assert stranger["spec"]["template"]["spec"]["containers"][0]["image"] == "evil.example/mine"
    # The way out that the message names.
    team.delete("Job", name)
    eventually(lambda: (team.get("Job", name) or {}).get("metadata", {}).get("ownerReferences"), "the Job")


TAKEN: dict[str, Object] = {
    "NetworkPolicy": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "spec": {"podSelector": {"matchLabels": {"app": "database"}}, "policyTypes": ["Ingress"]},
    },
    "Service": {
        "apiVersion": "v1",
        "kind": "Service",
        "spec": {"selector": {"app": "payments"}, "ports": [{"port": 443}]},
    },
    "ConfigMap": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"mine": "yes"}},
}
"""Objects of a team that a ModelDeployment of the right name would have, too, and the name that it has then."""


@pytest.mark.parametrize("kind", TAKEN)
def test_an_object_of_somebody_else_is_never_taken_over(team: Team, kind: str) -> None:
    """A server-side apply would replace what it says, and the garbage collector delete it with the resource."""
    model = f"takes-{kind.lower()}"
    name = f"{model}-router" if kind == "ConfigMap" else model
    before = {**TAKEN[kind], "metadata": {"name": name}}
    team.put(before)
    kept = team.get(kind, name)
    obj = team.made(team.resource("ModelDeployment", model))
    if kind != "NetworkPolicy":  # made once there is something to route to
        pretend_ready(team, obj)
    told = team.until_status("ModelDeployment", model, "NameTaken")
    assert kind in ready(told)["message"] and name in ready(told)["message"]
    assert team.get(kind, name) == kept


def pretend_ready(team: Team, obj: Object) -> None:
    """The pods of a model's first revision answer: what the kubelet would say, so that the router comes next."""
    selector = f"kaon.dev/owner-uid={obj['metadata']['uid']},app.kubernetes.io/component=server"
    pods = eventually(lambda: team.list("Pod", selector), "the servers' pods")
    for pod in pods:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        team.patch("Pod", pod["metadata"]["name"], {"status": status}, "status")


def test_a_forged_revision_does_not_break_its_resource(team: Team) -> None:
    """A Deployment that claims to be a revision, with an annotation that nobody can read."""
    obj = team.made(team.resource("ModelDeployment", "forged", modelRef={"kind": "TrainingRun", "name": "missing"}))
    pod = job("x")["spec"]["template"]["spec"] | {"restartPolicy": "Always"}
    labels = {**LABELS, "kaon.dev/revision": "0badf00d"}
    forged = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "forged-0badf00d",
            "labels": labels,
            "annotations": {"kaon.dev/revision-spec": '{"revision": 7'},
            "ownerReferences": [owner(obj)],
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
        },
    }
    team.put(forged)
    eventually(lambda: team.get("Deployment", "forged-0badf00d") is None, "the forged one is pruned")
    now = team.until_status("ModelDeployment", "forged", "ReferenceNotFound")
    assert "stable" not in now["status"] and "candidate" not in now["status"]


@pytest.mark.parametrize("kind", SPECS)
def test_labels_and_annotations_of_a_resource_do_not_reach_its_children(team: Team, kind: str) -> None:
    mark = {"team.example/mark": "mine", "pod-security.kubernetes.io/enforce": "privileged"}
    trick = {"app.kubernetes.io/component": "operator", "kaon.dev/owner": "victim", "kaon.dev/owner-uid": "x"}
    metadata = {"labels": {**mark, **trick, **LABELS}, "annotations": {**mark, "kaon.dev/applied": "x"}}
    obj = team.made(team.resource(kind, "marked", metadata))
    selector = f"kaon.dev/owner-uid={obj['metadata']['uid']}"
    kinds = ("Job", "Report", "Deployment", "Service", "NetworkPolicy")
    children = eventually(lambda: [child for each in kinds for child in team.list(each, selector)], "the children")
    for child in children:
        text = json.dumps([child["metadata"], child["spec"].get("template", {}).get("metadata", {})])
        assert "mark" not in text.replace('"marked', "") and "privileged" not in text
        assert child["metadata"]["labels"]["kaon.dev/owner"] == "marked"
        assert child["metadata"]["labels"]["app.kubernetes.io/component"] != "operator"


def test_who_may_edit_a_namespace_writes_no_report(team: Team, victim: Object) -> None:
    report = {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": "Report",
        "metadata": {"name": "by-hand", "ownerReferences": [owner(victim)]},
        "spec": {"stage": "dataset", "jobName": "by-hand", "inputDigest": "sha256:" + "0" * 64},
    }
    jane = Team(team.server.acting_as("jane"), team.name)
    assert jane.get("Dataset", "victim") is not None
    assert "cannot create resource" in jane.refusal(report)
    said = jane.patch("Report", victim["status"]["jobName"], {"status": {"result": None}}, "status")
    assert "cannot patch resource" in said["message"]
    assert unchanged(team, victim)


def test_a_report_by_hand_for_another_run_is_not_read(team: Team, victim: Object) -> None:
    """An administrator's mistake: a Report that the resource owns, of a digest that it has not."""
    name = "victim-dset-ffffffffff"
    report = {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": "Report",
        "metadata": {"name": name, "labels": LABELS, "ownerReferences": [owner(victim)]},
        "spec": {"stage": "dataset", "jobName": name, "inputDigest": "sha256:" + "f" * 64},
    }
    team.put(report)
    eventually(lambda: team.get("Report", name) is None, "the Report by hand is pruned")
    assert unchanged(team, victim)
