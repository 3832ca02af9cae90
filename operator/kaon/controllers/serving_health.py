"""How the pods of a Deployment stand: enough of them, all of them, or none and why. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaon.api import conditions as c
from kaon.controllers.base import Object
from kaon.controllers.conditions import parse_timestamp
from kaon.controllers.diagnosis import Finding, living_cause
from kaon.resources import labels

_TOLD = re.compile(r"^([A-Z][A-Za-z]{2,127}): (.+)", re.DOTALL)
"""How kaon-job and the probes begin a termination message."""

PASSING = frozenset({c.UNSCHEDULABLE, "StoreUnreachable"})
"""Causes that may pass by themselves: the resource waits. All others need somebody to change something."""

WAYS_OUT = {
    "ArtifactCorrupted": "Restore the artifact's files in the store, or set spec.rerun on the resource that made it; "
    "the pod tries again by itself.",
    "GoldenMismatch": "The served model does not answer as it did when it was evaluated: another runtime, another "
    "processor or another tokenizer. Compare the images' versions, or make the model again (spec.rerun).",
}


@dataclass(frozen=True, slots=True)
class Health:
    """A Deployment as it is. The defaults are those of one that does not exist."""

    created: datetime | None = None
    replicas: int = 0
    ready_replicas: int = 0
    ready: bool = False
    """Every wanted pod is of the present template and answers."""
    available: bool = False
    """The same, and has done so for minReadySeconds."""
    cause: Finding | None = None
    """Why pods do not run, when something is known."""

    @property
    def stalled(self) -> bool:
        """Whether waiting will not help."""
        return self.cause is not None and self.cause.reason not in PASSING


def health(deployment: Object | None, pods: Iterable[Object]) -> Health:
    """The health of a Deployment and of its pods."""
    if deployment is None or "deletionTimestamp" in deployment["metadata"]:
        return Health()
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    total, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    settled = seen and total == updated == wanted
    ready = settled and status.get("readyReplicas", 0) == wanted
    return Health(
        created=_created(deployment),
        replicas=total,
        ready_replicas=status.get("readyReplicas", 0),
        ready=ready,
        available=settled and status.get("availableReplicas", 0) == wanted,
        cause=None if ready else _cause(deployment, list(pods)),
    )


def pods_of(pods: Sequence[Object], component: str, revision: str | None = None) -> list[Object]:
    """The pods of a component, or of one revision of it, that are not on their way out."""
    wanted = {labels.COMPONENT: component, **({labels.REVISION: revision} if revision else {})}
    return [
        pod
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and wanted.items() <= pod["metadata"].get("labels", {}).items()
    ]


def _created(deployment: Object) -> datetime | None:
    moment = deployment["metadata"].get("creationTimestamp")
    return parse_timestamp(moment) if moment else None


def _cause(deployment: Object, pods: Sequence[Object]) -> Finding | None:
    return _told(pods) or living_cause(pods) or _ended(pods) or _refused(deployment)


def _ends(pods: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """(container status, how it ended last) of containers that are not ready; `ready` forgives what was before."""
    for pod in pods:
        status = pod.get("status", {})
        for item in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            ended = item.get("state", {}).get("terminated") or item.get("lastState", {}).get("terminated")
            if ended and not item.get("ready"):
                yield item, ended


def _told(pods: Sequence[Object]) -> Finding | None:
    """What a container said itself, before anybody's guess at it."""
    for _, ended in _ends(pods):
        match = _TOLD.match(ended.get("message", "").strip())
        if match:
            reason, message = match[1], match[2].strip()
            way_out = WAYS_OUT.get(reason)
            return Finding(reason, f"{message.rstrip('.')}. {way_out}" if way_out else message)
    return None


def _ended(pods: Sequence[Object]) -> Finding | None:
    for item, ended in _ends(pods):
        if ended.get("exitCode", 0) != 0:
            text = ended.get("message", "").strip()
            said = f": {text[-1500:]}" if text else "; see its log"
            return Finding("CrashLoop", f"The container {item['name']} ended with exit code {ended['exitCode']}{said}")
    return None


def _refused(deployment: Object) -> Finding | None:
    """What the cluster says of the Deployment itself: pods that it may not make, or that never came up."""
    found = {item["type"]: item for item in deployment.get("status", {}).get("conditions", [])}
    failure = found.get("ReplicaFailure")
    if failure is not None and failure["status"] == "True":
        return Finding("PodsRefused", f"The cluster refuses the pods: {failure.get('message', '')}")
    progress = found.get("Progressing")
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        name = deployment["metadata"]["name"]
        return Finding(c.DEADLINE_EXCEEDED, f"The pods of {name} did not become ready in time; see their logs.")
    return None
