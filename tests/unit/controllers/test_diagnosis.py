"""What the cluster says of a pod becomes a cause and a way out."""

from __future__ import annotations

from typing import Any

import pytest

from kaon.controllers.base import Object
from kaon.controllers.diagnosis import death_cause, living_cause


def pod(phase: str, *statuses: Object, created: str = "2026-01-01T00:00:00Z", **status: Any) -> Object:
    return {
        "metadata": {"name": "p", "creationTimestamp": created},
        "spec": {"containers": [{"name": "stage", "resources": {"limits": {"memory": "512Mi"}}}]},
        "status": {"phase": phase, "containerStatuses": list(statuses), **status},
    }


def waiting(reason: str, message: str = "") -> Object:
    return {"name": "stage", "image": "x:1", "state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, reason: str = "Error", message: str = "") -> Object:
    return {"name": "stage", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


UNSCHEDULABLE = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "no nvidia.com/gpu.",
        }
    ]
}
CRASHING = {
    "name": "stage",
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 64, "message": "model.onnx does not match"}},
}


@pytest.mark.parametrize(
    ("seen", "reason", "told"),
    [
        (pod("Pending", **UNSCHEDULABLE), "Unschedulable", "no nvidia.com/gpu"),
        (
            pod("Pending", waiting("ImagePullBackOff", "not found")),
            "ImagePullFailed",
            "x:1 cannot be pulled: not found",
        ),
        (pod("Pending", waiting("ErrImagePull")), "ImagePullFailed", "imagePullSecrets"),
        (
            pod("Pending", waiting("CreateContainerConfigError", "no configmap")),
            "CreateContainerConfigError",
            "no configmap",
        ),
        (pod("Running", CRASHING), "CrashLoop", "model.onnx does not match"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pod_that_cannot_run_is_explained(seen: Object, reason: str, told: str) -> None:
    found = living_cause([seen])
    assert found is not None
    assert found.reason == reason and told in found.message


@pytest.mark.parametrize("seen", [pod("Pending", waiting("ContainerCreating")), pod("Running"), pod("Succeeded")])
def test_a_pod_that_is_well_needs_no_explanation(seen: Object) -> None:
    assert living_cause([seen]) is None
    assert death_cause([seen]) is None


def test_a_pod_killed_for_memory_names_its_limit_and_the_field_to_raise() -> None:
    found = death_cause([pod("Failed", ended(137, "OOMKilled"))])
    assert found is not None and found.reason == "OutOfMemory"
    assert "512Mi" in found.message and "spec.podTemplate.resources.limits.memory" in found.message


def test_the_newest_death_speaks() -> None:
    old = pod("Failed", ended(137, "OOMKilled"), created="2026-01-01T00:00:00Z")
    new = pod("Failed", ended(1, message="cannot read"), created="2026-01-01T00:01:00Z")
    found = death_cause([old, new])
    assert found is not None and found.reason == "PodFailed" and "cannot read" in found.message


def test_an_evicted_pod_tells_why() -> None:
    found = death_cause([pod("Failed", reason="Evicted", message="disk pressure")])
    assert found is not None and found.reason == "Evicted" and "disk pressure" in found.message


@pytest.mark.parametrize(
    "told",
    [
        'Usage of EmptyDir volume "work" exceeds the limit "50Gi". ',
        "Pod ephemeral local storage usage exceeds the total limit of containers 50Gi. ",
        'Container stage exceeded its local ephemeral storage limit "50Gi". ',
    ],
)
def test_a_pod_above_its_limit_of_scratch_space_names_the_limit_and_the_field(told: str) -> None:
    found = death_cause([pod("Failed", ended(143), reason="Evicted", message=told)])
    assert found is not None and found.reason == "OutOfScratchSpace"
    assert "50Gi" in found.message and "spec.podTemplate.resources.limits.ephemeral-storage" in found.message
