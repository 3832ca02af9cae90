"""What counts as a request, and how a pod's result depends on nothing but its Job's inputs."""

from __future__ import annotations

import json

from simulation.requests import agent_name, requests_by_agent, requests_in
from simulation.results import artifact_digest, finished

from kaon.api.report import ReportStatus

METRICS = """
apiserver_request_total{code="200",group="",resource="pods",scope="resource",subresource="status",verb="PATCH"} 7
apiserver_request_total{code="409",group="",resource="pods",scope="resource",subresource="status",verb="PATCH"} 2
apiserver_request_total{code="200",group="",resource="pods",scope="cluster",subresource="",verb="LIST"} 5
apiserver_request_total{code="0",group="",resource="pods",scope="cluster",subresource="",verb="WATCH"} 9
apiserver_request_total{code="200",group="coordination.k8s.io",resource="leases",subresource="",verb="PUT"} 400
apiserver_request_total{code="200",group="",resource="",subresource="/readyz",verb="GET"} 11
apiserver_request_terminations_total{code="200",resource="pods",subresource="",verb="POST"} 3
"""
READ = {"uri": "s3://kaon/n/x", "digest": "sha256:" + "d" * 64}
WORK = {
    "dataset": {
        **{
            "stage": "dataset",
            "task": "text-classification",
            "sources": [],
            "format": "auto",
            "clean": {},
            "split": {},
        },
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
    },
    "train": {
        **{"stage": "train", "task": "text-classification", "dataset": READ, "model": {"base": "s3://models/m"}},
        **{"recipe": {}, "checkpoint": {}},
    },
    "compress": {
        **{
            "stage": "compress",
            "task": "text-classification",
            "model": READ,
            "dataset": READ,
            "budget": {"maxDrop": {"accuracy": 0.01}},
        },
        **{"objective": "size", "strategy": "auto", "search": {}, "target": {}},
    },
}


def test_reads_of_one_object_and_writes_count_whatever_the_answer_and_nothing_else() -> None:
    assert requests_in(METRICS) == {("PATCH", "pods/status"): 9}


def audited(verb: str, resource: str, agent: str) -> bytes:
    return json.dumps({"verb": verb, "objectRef": {"resource": resource}, "userAgent": agent}).encode()


def test_an_audit_log_is_counted_by_program_and_leases_only_when_asked_for() -> None:
    lines = [
        audited("create", "jobs", "kaon-operator"),
        audited("update", "leases", "kaon-operator"),
        audited("watch", "jobs", "kaon-operator"),
    ]
    assert requests_by_agent(lines) == {("kaon-operator", "POST", "jobs"): 1}
    assert requests_by_agent(lines, leases=True)["kaon-operator", "PUT", "leases"] == 1


def test_controllers_of_the_controller_manager_are_told_apart() -> None:
    agent = (
        "kube-controller-manager/v1.35.4 (linux/amd64) kubernetes/abc/system:serviceaccount:kube-system:job-controller"
    )
    assert agent_name(agent) == "kube-controller-manager system:serviceaccount:kube-system:job-controller"
    assert agent_name("kwok/v0.7.0 (linux/amd64) kwok/v0.7.0") == "kwok"


def test_every_stage_reports_a_valid_result_whose_artifact_follows_from_the_inputs() -> None:
    for stage, work in WORK.items():
        who = {"kind": stage, "namespace": "n", "name": "a", "uid": "u", "generation": 1}
        told = {
            **{"work": work, "inputDigest": "sha256:" + "a" * 64, "output": {"uri": f"s3://kaon/n/{stage}"}},
            "provenance": {**who, "kaonVersion": "0", "image": "i"},
        }
        said = ReportStatus.model_validate(finished(told, "pod"))
        assert said.result is not None and said.result.artifact is not None
        assert said.result.artifact.digest == artifact_digest(told["inputDigest"])
        assert sum(getattr(said.result, name) is not None for name in ("dataset", "training", "compression")) == 1
    assert artifact_digest("sha256:" + "a" * 64) != artifact_digest("sha256:" + "b" * 64)
