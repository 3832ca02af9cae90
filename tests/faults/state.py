"""The state that a run ends in, in a form that two runs can be compared in. Pure but for `observe`.

Left out is what no two runs share: UIDs, times, versions, the namespace's and the pods' names, addresses.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from simulation.client import Client, Object

from kaon.engine.diff import APPLIED
from kaon.engine.resources import CHILDREN, CUSTOM
from kaon.engine.watch import SELECTOR
from kaon.resources.labels import COMPONENT, OWNER_NAME

State = dict[str, Any]
"""`Kind name` -> what is left of the object; pods are counted by owner, component and phase."""

KINDS = (*CUSTOM, *(resource for resource in CHILDREN if not resource.optional))
UNSTABLE_METADATA = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "namespace")
UNSTABLE_ANNOTATIONS = (APPLIED, "kubectl.kubernetes.io/last-applied-configuration")
UNSTABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "Service": {"spec": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")},
    # Signatures are over times and the owner's UID, too.
    "Report": {"spec": ("jobSignature",), "status": ("pod", "resultSignature")},
    # These follow seconds after everything is at rest.
    "Deployment": {"status": ("conditions", "availableReplicas", "unavailableReplicas")},
}
TEMPLATE_HASH = "pod-template-hash"
UNSTABLE_TEXT = {
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"),
    "<version>": re.compile(r"(?<=version_info..: ..)[0-9a-f]{12}"),
}
"""The version of a router's configuration is a hash of it, with the namespace's name in it."""


async def observe(client: Client, namespace: str) -> list[Object]:
    """All objects of a namespace that the operator handles."""

    async def listed(kind: Any) -> list[Object]:
        query = {} if kind in CUSTOM else {"labelSelector": SELECTOR}
        items, _ = await client.listing(kind.path(namespace), **query)
        return [{**item, "kind": kind.kind, "apiVersion": kind.api_version} for item in items]

    found = await asyncio.gather(*(listed(kind) for kind in KINDS))
    return [item for items in found for item in items]


def normalised(objects: list[Object], namespace: str) -> State:
    """The comparable state."""
    pods = [obj for obj in objects if obj["kind"] == "Pod"]
    others = [obj for obj in objects if obj["kind"] != "Pod"]
    text = json.dumps({_key(obj): _stripped(obj) for obj in others}, sort_keys=True)
    for unstable, name in _names(objects, namespace):
        text = text.replace(unstable, name)
    for name, pattern in UNSTABLE_TEXT.items():
        text = pattern.sub(name, text)
    state: State = json.loads(text)
    counted = Counter(
        f"Pods of {pod['metadata']['labels'].get(OWNER_NAME)}, {pod['metadata']['labels'].get(COMPONENT)}, "
        f"{pod['status'].get('phase')}"
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    )
    return {**state, **counted}


def differences(state: State, reference: State) -> list[str]:
    """What is not as in the reference, a line each; empty when nothing is."""
    lines = [f"{key} should not be there" for key in state if key not in reference]
    lines += [f"{key} is missing" for key in reference if key not in state]
    found, wanted = ({key: one[key] for key in state if key in reference} for one in (state, reference))
    return lines + [
        f"{path}: {a!r} should be {b!r}" for path, a, b in _unequal(dict(_flat(found)), dict(_flat(wanted)))
    ]


def _unequal(found: State, wanted: State) -> Iterator[tuple[str, Any, Any]]:
    for path in sorted(found.keys() | wanted.keys()):
        if path not in wanted or path not in found or found[path] != wanted[path]:
            yield path, found.get(path), wanted.get(path)


def _key(obj: Object) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


def _stripped(obj: Object) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name not in UNSTABLE_METADATA}
    annotations = metadata.pop("annotations", {})
    metadata["annotations"] = {name: text for name, text in annotations.items() if name not in UNSTABLE_ANNOTATIONS}
    found = {**obj, "metadata": metadata}
    for part, fields in UNSTABLE.get(obj["kind"], {}).items():
        found[part] = {name: value for name, value in obj.get(part, {}).items() if name not in fields}
    return found


def _names(objects: list[Object], namespace: str) -> Iterator[tuple[str, str]]:
    """What stands in other objects, and what stands for it."""
    for obj in objects:
        if obj["kind"] == "Pod":
            labels = obj["metadata"]["labels"]
            yield obj["metadata"]["name"], f"<pod of {labels.get(OWNER_NAME)}>"
            if TEMPLATE_HASH in labels:
                yield labels[TEMPLATE_HASH], "<hash>"
        yield obj["metadata"]["uid"], f"<uid of {_key(obj)}>"
    yield namespace, "<namespace>"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _flat(item, f"{path}[{number}]")
    else:
        yield path, value
