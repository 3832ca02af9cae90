"""The words that builders, controllers and the engine share: an object, its key, a child, the images. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Object = dict[str, Any]
"""A Kubernetes object as JSON."""


class Key(NamedTuple):
    """The address of an object: kind, namespace, name. Kinds that Kaon handles are unique without their group."""

    kind: str
    namespace: str
    name: str


def key_of(obj: Object) -> Key:
    """The Key of an object."""
    meta = obj["metadata"]
    return Key(obj["kind"], meta.get("namespace", ""), meta["name"])


@dataclass(frozen=True, slots=True)
class Images:
    """Images that Kaon starts."""

    jobs: str
    triton: str
    torchserve: str
    router: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Child:
    """An object that should exist.

    mode "apply": server-side applied whenever it differs. "create": made when absent, never changed, since its
    template is immutable or its status belongs to others. "keep": an object that was seen stays, and is not made again
    when it has vanished meanwhile. "provide": created now and then and never read, for a Secret.
    owned: carries the owner reference and is pruned when it leaves the plan; otherwise it is shared by a namespace's
    resources and never pruned.
    """

    manifest: Object
    mode: Literal["apply", "create", "keep", "provide"] = "apply"
    owned: bool = True
