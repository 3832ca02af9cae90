"""Why a pod does not run or did not live: what the cluster says, turned into a cause and a way out. Pure.

A list of small checks, read from top to bottom like a checklist; the first that finds something speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from kaon.api import conditions as c
from kaon.contract.jobspec import EXIT_TERMINATED
from kaon.controllers.base import Object

_SCRATCH_FULL = ("EmptyDir volume", "ephemeral local storage usage exceeds", "local ephemeral storage limit")
"""How a kubelet says that a pod is above its own limit, and not that the node runs out of disk."""


class Finding(NamedTuple):
    """A cause and the way out, in one sentence each."""

    reason: str
    message: str


def living_cause(pods: Sequence[Object]) -> Finding | None:
    """Why pods that should run do not, or None."""
    waiting = [pod for pod in pods if pod.get("status", {}).get("phase", "Pending") in ("Pending", "Running")]
    return _first(waiting, (_unschedulable, _image, _configuration, _crash_loop))


def death_cause(pods: Sequence[Object]) -> Finding | None:
    """Why the newest pod that failed did so, or None."""
    dead = [pod for pod in pods if pod.get("status", {}).get("phase") == "Failed" or _terminated_badly(pod)]
    dead.sort(key=lambda pod: pod["metadata"].get("creationTimestamp", ""), reverse=True)
    return _first(dead, (_out_of_memory, _evicted, _exit))


def _first(pods: Iterable[Object], checks: Iterable[Callable[[Object], Finding | None]]) -> Finding | None:
    checks = tuple(checks)
    return next((found for pod in pods for check in checks if (found := check(pod))), None)


def _statuses(pod: Object) -> Iterator[Object]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def _terminated_badly(pod: Object) -> bool:
    return any(item.get("state", {}).get("terminated", {}).get("exitCode", 0) != 0 for item in _statuses(pod))


def _unschedulable(pod: Object) -> Finding | None:
    for item in pod.get("status", {}).get("conditions", []):
        if item["type"] == "PodScheduled" and item["status"] == "False" and item.get("reason") == "Unschedulable":
            return Finding(
                c.UNSCHEDULABLE,
                f"No node can take the pod: {item.get('message', 'no reason given')} "
                "Change spec.podTemplate (resources, nodeSelector, tolerations) or add a node that fits; "
                "the pod starts by itself when one does.",
            )
    return None


def _image(pod: Object) -> Finding | None:
    for item in _statuses(pod):
        waiting = item.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"):
            return Finding(
                c.IMAGE_PULL_FAILED,
                f"The image {item.get('image', '')} cannot be pulled: {waiting.get('message', waiting['reason'])} "
                "Check the operator's image settings and spec.podTemplate.imagePullSecrets.",
            )
    return None


def _configuration(pod: Object) -> Finding | None:
    for item in _statuses(pod):
        waiting = item.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return Finding(str(waiting["reason"]), f"The container cannot start: {waiting.get('message', '')}")
    return None


def _crash_loop(pod: Object) -> Finding | None:
    for item in _statuses(pod):
        if item.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff":
            last = item.get("lastState", {}).get("terminated", {})
            if last.get("reason") == "OOMKilled":
                return _memory_finding(pod, str(item.get("name", "")))
            told = last.get("message", "").strip() or f"it left no message; see kubectl logs {pod['metadata']['name']}"
            ended = f"The container {item.get('name')} ends again and again (exit code {last.get('exitCode')})"
            return Finding("CrashLoop", f"{ended}: {told}")
    return None


def _out_of_memory(pod: Object) -> Finding | None:
    for item in _statuses(pod):
        if item.get("state", {}).get("terminated", {}).get("reason") == "OOMKilled":
            return _memory_finding(pod, str(item.get("name", "")))
    return None


def _memory_finding(pod: Object, container: str) -> Finding:
    limit = next(
        (
            item.get("resources", {}).get("limits", {}).get("memory")
            for item in [*pod["spec"].get("initContainers", []), *pod["spec"].get("containers", [])]
            if item["name"] == container
        ),
        None,
    )
    bound = f"its limit of {limit}" if limit else "the memory of its node"
    return Finding(
        c.OUT_OF_MEMORY,
        f"The pod was killed because it needed more memory than {bound}. "
        "Raise spec.podTemplate.resources.limits.memory, or lower the batch size or the sequence length.",
    )


def _evicted(pod: Object) -> Finding | None:
    status = pod.get("status", {})
    if status.get("reason") != "Evicted":
        return None
    told = str(status.get("message", "")).strip()
    if any(sign in told for sign in _SCRATCH_FULL):
        return Finding(
            c.OUT_OF_SCRATCH_SPACE,
            f"The pod was ended because it wrote more to its scratch space than its limit: {told} "
            "Raise spec.podTemplate.resources.limits.ephemeral-storage.",
        )
    return Finding("Evicted", f"The node evicted the pod: {told}")


def _exit(pod: Object) -> Finding | None:
    for item in _statuses(pod):
        ended = item.get("state", {}).get("terminated", {})
        if ended.get("exitCode") == EXIT_TERMINATED:
            return Finding("Interrupted", f"The container {item.get('name')} was told to stop (exit code 143).")
        if ended.get("exitCode", 0) != 0:
            text = ended.get("message", "").strip()
            return Finding(
                "PodFailed",
                f"The container {item.get('name')} ended with exit code {ended['exitCode']}"
                + (f": {text[-1500:]}" if text else f"; see kubectl logs {pod['metadata']['name']}"),
            )
    return None
