"""A Report that holds a result is finished: the API server itself lets nobody change or remove what was accepted."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

DIGEST = "sha256:" + "a" * 64
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
    assert "says whose it is and cannot be changed" in report.patch(change, status=False)


def test_a_finished_report_can_be_labelled_and_deleted(finished: Report, kubectl: Any, namespace: str) -> None:
    kubectl("label", "report", "x", "-n", namespace, "kaon.dev/seen=yes")
    kubectl("delete", "report", "x", "-n", namespace, "--timeout=20s")
