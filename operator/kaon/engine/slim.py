"""What the cache keeps of an object: what plan() reads, and what is compared with what is wanted. Pure.

Everything here is a list of what is kept: whatever else an object may hold, users may fill it as they like. It is kept
as JSON bytes, and parsed when it is looked at: a tenth of the memory of parsed objects, for ten microseconds a look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from kaon.controllers.base import Key, Object
from kaon.resources.labels import OWNER_KIND, OWNER_NAME, OWNER_UID, QUEUE_NAME
from kaon.resources.report import JOB_DIGEST, digest_of_told

_KEPT = ("apiVersion", "kind", "spec", "status", "automountServiceAccountToken", "roleRef", "subjects")
_METADATA = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp")
_LABEL_PREFIXES = ("kaon.dev/", "app.kubernetes.io/")
_LABELS = frozenset({QUEUE_NAME, "batch.kubernetes.io/job-name"})
_ANNOTATION_PREFIXES = ("kaon.dev/",)
_REPORT_SPEC = ("stage", "jobName", "inputDigest", "jobSignature")
_JOB_SPEC = ("suspend", "backoffLimit", "completions", "parallelism")
_POD_STATUS = ("phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses")


class Entry:
    """One cached object. Where there is no room for it, it is read again whenever it is needed."""

    __slots__ = (
        "data",
        "deleting",
        "generation",
        "mark",
        "owner",
        "owner_uid",
        "phase",
        "read",
        "size",
        "uid",
        "version",
    )

    def __init__(self, obj: Object) -> None:
        meta = obj["metadata"]
        self.uid: str = meta["uid"]
        self.version = int(meta["resourceVersion"])
        """Comparable within a kind (since Kubernetes 1.35 by contract, before by etcd's nature)."""
        # Copied: orjson leaves its bytes in the buffer it wrote them to, which is up to ten times as large.
        self.data: bytes | None = bytes(memoryview(orjson.dumps(slim(obj), option=orjson.OPT_SORT_KEYS)))
        self.size = len(self.data)
        """Of the data, whether they are kept or not."""
        self.mark = hashlib.blake2b(self.data, digest_size=16).digest()
        """Changes when anything changes that plan() could see."""
        self.generation: int | None = meta.get("generation")
        self.read = True
        """Whether a plan may ever look into it."""
        self.deleting = "deletionTimestamp" in meta
        self.phase: str = (obj.get("status") or {}).get("phase") or "None"
        controller = _controller(meta)
        labels = meta.get("labels", {})
        self.owner: Key | None = None
        self.owner_uid = ""
        if obj["kind"] == "Pod" and OWNER_UID in labels:
            # A pod is controlled by its Job or ReplicaSet; whose it is in the end stands in its labels.
            self.owner = Key(labels.get(OWNER_KIND, ""), meta["namespace"], labels.get(OWNER_NAME, ""))
            self.owner_uid = labels[OWNER_UID]
        elif controller is not None:
            self.owner = Key(controller["kind"], meta["namespace"], controller["name"])
            self.owner_uid = controller["uid"]

    @property
    def obj(self) -> Object:
        """The object, freshly parsed: whoever changes it changes a copy. Only where the data are kept."""
        assert self.data is not None
        found: Object = orjson.loads(self.data)
        return found

    def drop(self) -> None:
        """Keep no data."""
        self.data = None


def slim(obj: Object) -> Object:
    """The object, or the manifest of one, without what nobody reads. `obj` itself is left alone, and may be slim."""
    if obj["kind"] == "Pod":
        return _slim_pod(obj)
    found: Object = {name: obj[name] for name in _KEPT if name in obj}
    found["metadata"] = _slim_metadata(obj["metadata"])
    if obj["kind"] == "Job":
        # Its template is immutable, and more than all the rest.
        found["spec"] = {name: value for name, value in obj.get("spec", {}).items() if name in _JOB_SPEC}
    if obj["kind"] == "Report" and isinstance(obj.get("spec"), dict):
        found["spec"] = _slim_report(obj)
    if obj["kind"] == "ConfigMap":
        # Up to a mebibyte, which is only ever compared as a whole.
        data = obj.get("data") or {}
        found["data"] = data if isinstance(data, str) else _hash([data, obj.get("binaryData") or {}])
    return found


def _slim_report(report: Object) -> Object:
    """The spec with the digest of what its pods are told, which may be half a mebibyte and never changes."""
    found = {name: value for name, value in report["spec"].items() if name in _REPORT_SPEC}
    told = digest_of_told(report)
    return found if told is None else {**found, JOB_DIGEST: told}


def _slim_metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: meta[name] for name in _METADATA if name in meta}
    if "labels" in meta:
        found["labels"] = _slim_labels(meta["labels"] or {})
    if "annotations" in meta:
        annotations = meta["annotations"] or {}
        found["annotations"] = {
            name: text for name, text in annotations.items() if name.startswith(_ANNOTATION_PREFIXES)
        }
    controller = _controller(meta)
    if controller is not None:
        found["ownerReferences"] = [controller]
    return found


def _slim_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in labels.items() if name in _LABELS or name.startswith(_LABEL_PREFIXES)}


def _controller(meta: Mapping[str, Any]) -> Object | None:
    return next((ref for ref in meta.get("ownerReferences") or () if ref.get("controller")), None)


def _hash(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _slim_pod(pod: Object) -> Object:
    meta, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
    found = _slim_metadata(meta)
    return {
        "apiVersion": pod.get("apiVersion", "v1"),
        "kind": "Pod",
        "metadata": {name: value for name, value in found.items() if name not in ("annotations", "ownerReferences")},
        "spec": {
            **({"nodeName": spec["nodeName"]} if "nodeName" in spec else {}),
            "containers": [
                {"name": container["name"], "resources": container.get("resources", {})}
                for container in spec.get("containers", [])
            ],
        },
        "status": {name: status[name] for name in _POD_STATUS if name in status},
    }
