"""The Report of a stage: made empty by the operator, filled by the stage's pod."""

from __future__ import annotations

from kaon.api.base import API_VERSION
from kaon.resources.base import Object
from kaon.resources.pods import child_labels


def report(obj: Object, *, name: str, stage: str, input_digest: str) -> Object:
    """A Report with the name of the stage's Job."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Report",
        "metadata": {
            "name": name,
            "namespace": obj["metadata"]["namespace"],
            "labels": child_labels(obj, stage, input_digest),
        },
        "spec": {"stage": stage, "jobName": name, "inputDigest": input_digest},
    }
