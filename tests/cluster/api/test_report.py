"""A Report that holds a result is finished: the API server itself lets nobody change or remove what was accepted."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from kaon.api.report import JOB_LENGTH

DIGEST = "sha256:" + "a" * 64
FIXED = "says whose it is and what its pod is told, and cannot be changed"
FINISHED = "a Report that holds a result is finished"
RESULT = {
    "artifact": {"uri": "s3://b/team/datasets/x", "digest": DIGEST, "sizeBytes": 10},
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:01:00Z",
    "reused": False,
}
STATUS = {"pod": "x-0-abcde", "attempt": 1, "progress": {"percent": 50, "phase": "training"}}
CHANGES: dict[str, Any] = {
    "another digest": {"status": {"result": {"artifact": {"digest": "sha256:" + "b" * 64}}}},
    "another folder": {"status": {"result": {"artifact": {"uri": "s3://b/other/datasets/x"}}}},
    "reused": {"status": {"result": {"reused": True}}},
    "a figure more": {"status": {"result": {"cost": {"cpuSeconds": 1}}}},
    "a field of the result less": {"status": {"result": {"artifact": None}}},
    "no result": {"status": {"result": None}},
    "no status": {"status": None},
    "an error": {"status": {"error": {"reason": "X", "message": "x", "retriable": True, "time": RESULT["startTime"]}}},
    "another progress": {"status": {"progress": {"percent": 1}}},
    "another pod": {"status": {"pod": "y"}},
    "a checkpoint": {"status": {"lastCheckpoint": {"step": 1, "uri": "s3://b/c", "time": RESULT["startTime"]}}},
}


class Report:
    """One Report, and what the API server says to writes of its status."""

    def __init__(self, kubectl: Any, namespace: str) -> None:
        self._kubectl, self._namespace = kubectl, namespace
        spec = {"stage": "dataset", "jobName": "x", "inputDigest": DIGEST}
        metadata = {"name": "x", "namespace": namespace}
        kubectl.apply({"apiVersion": "kaon.dev/v1alpha1", "kind": "Report", "metadata": metadata, "spec": spec})

    def patch(self, change: Any, form: str = "merge", *, status: bool = True) -> str:
        below = ("--subresource=status",) if status else ()
        flags = (f"--type={form}", "-p", json.dumps(change))
        return str(self._kubectl("patch", "report", "x", "-n", self._namespace, *below, *flags, check=False))

    def replace(self, obj: Any) -> str:
        flags = ("--subresource=status", "-f", "-")
        return str(self._kubectl("replace", *flags, stdin=json.dumps(obj), check=False))

    @property
    def now(self) -> Any:
        return self._kubectl.get("report", "x", self._namespace)


@pytest.fixture
def report(kubectl: Any, namespace: str) -> Report:
    """With progress and without a result."""
    made = Report(kubectl, namespace)
    assert "patched" in made.patch({"status": STATUS})
    return made


@pytest.fixture
def finished(report: Report) -> Report:
    """With its result, written as a stage's pod writes it."""
    assert "patched" in report.patch({"status": {"result": RESULT, "error": None, "idleStops": None}})
    return report


def test_a_report_without_a_result_takes_progress_and_an_error_that_goes_again(report: Report) -> None:
    for change in (CHANGES["another progress"], CHANGES["an error"], {"status": {"error": None}}, {"status": None}):
        assert "patched" in report.patch(change)


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_of_a_finished_report_is_changed_or_removed(finished: Report, change: str) -> None:
    before = finished.now
    assert FINISHED in finished.patch(CHANGES[change])
    assert finished.now == before


def test_a_replacement_without_the_result_or_without_a_status_is_refused(finished: Report) -> None:
    before = finished.now
    for without in ("result", "status"):
        obj = copy.deepcopy(before)
        del (obj if without == "status" else obj["status"])[without]
        assert FINISHED in finished.replace(obj)
    assert finished.now == before


def test_a_json_patch_that_moves_the_result_away_is_refused(finished: Report) -> None:
    assert FINISHED in finished.patch([{"op": "remove", "path": "/status/result"}], "json")
    assert FINISHED in finished.patch([{"op": "remove", "path": "/status"}], "json")


def test_the_same_again_is_taken_as_a_pod_asks_what_is_there(finished: Report) -> None:
    assert "patched" in finished.patch({})
    assert "patched" in finished.patch({"status": {"result": RESULT}})


def test_whose_report_it_is_is_never_changed(report: Report) -> None:
    change = {"spec": {"inputDigest": "sha256:" + "b" * 64}}
    assert FIXED in report.patch(change, status=False)


def test_a_finished_report_can_be_labelled_and_deleted(finished: Report, kubectl: Any, namespace: str) -> None:
    kubectl("label", "report", "x", "-n", namespace, "kaon.dev/seen=yes")
    kubectl("delete", "report", "x", "-n", namespace, "--timeout=20s")


def test_what_a_pod_is_told_is_neither_added_nor_changed_nor_removed_later(
    report: Report, kubectl: Any, namespace: str
) -> None:
    assert FIXED in report.patch({"spec": {"job": "{}"}}, status=False)
    spec = {"stage": "dataset", "jobName": "y", "inputDigest": DIGEST, "job": "{}", "jobSignature": "AAAA"}
    obj = {"apiVersion": "kaon.dev/v1alpha1", "kind": "Report", "metadata": {"name": "y"}, "spec": spec}
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(obj))
    for change in ({"job": "[]"}, {"job": None}, {"jobSignature": "BBBB"}, {"jobSignature": None}):
        patch = ("patch", "report", "y", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": change}))
        assert FIXED in kubectl(*patch, check=False)
    assert kubectl.get("report", "y", namespace)["spec"] == spec


def test_the_longest_text_is_held_as_well_as_a_short_one(kubectl: Any, namespace: str) -> None:
    """The rule that compares it is within what the API server lets a rule cost."""

    def asked(verb: str, job: str, *flags: str, **status: Any) -> str:
        spec = {"stage": "dataset", "jobName": "z", "inputDigest": DIGEST, "job": job, "jobSignature": "AAAA"}
        metadata = {"name": "z", "namespace": namespace}
        obj = {"apiVersion": "kaon.dev/v1alpha1", "kind": "Report", "metadata": metadata, "spec": spec, **status}
        return str(kubectl(verb, *flags, "-f", "-", stdin=json.dumps(obj), check=False))

    longest = "a" * JOB_LENGTH
    assert "Too long" in asked("create", longest + "a")
    assert "created" in asked("create", longest)
    assert FIXED in asked("replace", longest[:-1] + "b")
    status = {"pod": "z-0-abcde", "progress": {"percent": 50}}
    assert "replaced" in asked("replace", longest, "--subresource=status", status=status)
    found = kubectl.get("report", "z", namespace)
    assert found["spec"]["job"] == longest and found["status"] == status
