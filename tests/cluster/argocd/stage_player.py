"""Plays the pods of stages on a cluster without a node: their Reports, and the phases that end their Jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from knownkeys import signed, told

Object = dict[str, Any]


class Stages:
    """Plays the pods of stages: writes what they would report, and ends their Jobs."""

    def __init__(self, kube: Any, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace

    def job(self, kind: str) -> Object:
        """The live Job of a kind's resource; empty while there is none."""
        for job in self._kube.list("jobs", self._namespace):
            if job["metadata"]["labels"].get("kaon.dev/owner-kind") == kind and not _ended(job):
                return job
        return {}

    def succeed(self, kind: str, result: Object) -> None:
        """The stage's pod reports a result and the Job completes."""
        now = _timestamp(datetime.now(UTC))
        job = until(lambda: self.job(kind), f"a Job of {kind}")
        report = self._kube.get("report", job["metadata"]["name"], self._namespace)
        said = signed(told(report), {**result, "startTime": now, "completionTime": now})
        self._end(kind, said, "Complete")

    def fail(self, kind: str, reason: str, message: str) -> None:
        """The stage's pod reports that its input is wrong, and the Job fails."""
        error = {"reason": reason, "message": message, "retriable": False, "time": _timestamp(datetime.now(UTC))}
        self._end(kind, {"error": error}, "Failed")

    def _end(self, kind: str, said: Object, ending: str) -> None:
        job = until(lambda: self.job(kind), f"a Job of {kind}")
        name = job["metadata"]["name"]
        self._kube.patch_status("report", name, self._namespace, said)
        # The Job controller ends a Job by its pods' phases; there is no kubelet to set those.
        pods = until(
            lambda: [
                pod
                for pod in self._kube.list("pods", self._namespace)
                if pod["metadata"]["labels"].get("job-name") == name
            ],
            f"a pod of {name}",
        )
        for pod in pods:
            phase = "Succeeded" if ending == "Complete" else "Failed"
            state = {"exitCode": 0 if ending == "Complete" else 64, "reason": "Done"}
            container = pod["spec"]["containers"][0]["name"]
            containers = [
                {
                    **{"name": container, "image": "none", "imageID": "", "ready": False, "restartCount": 0},
                    "state": {"terminated": state},
                }
            ]
            status = {"phase": phase, "containerStatuses": containers}
            self._kube.patch_status("pod", pod["metadata"]["name"], self._namespace, status)
        until(lambda: _ended(self._kube.get("job", name, self._namespace)), f"the end of {name}")


def _ended(job: Object) -> bool:
    return any(
        condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
        for condition in job.get("status", {}).get("conditions", ())
    )


def _timestamp(moment: datetime) -> str:
    return (moment - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def until(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first truthy thing that `look` returns."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.3)
    return found
