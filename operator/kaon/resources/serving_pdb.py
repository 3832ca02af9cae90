"""PodDisruptionBudgets: a drained node takes one pod at a time. None for a single pod, whose node could never drain."""

from __future__ import annotations

from kaon.resources.base import Object
from kaon.resources.pods import child_labels


def disruption_budget(
    obj: Object, *, name: str, component: str, digest: str, selector: dict[str, str], replicas: int
) -> Object | None:
    """The budget of the pods that `selector` matches, or None when there is only one of them."""
    if replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": name,
            "namespace": obj["metadata"]["namespace"],
            "labels": child_labels(obj, component, digest),
        },
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
    }
