"""What the API server makes of a write to one object: contents in, contents out. It knows what matters here.

Server-side apply by the one manager takes away what was applied before and is wanted no longer; status is a
subresource.
"""

from __future__ import annotations

from typing import Any

from kaon.controllers.base import Object
from kaon.engine.diff import APPLIED, contains, manifest_hash

from .objects import NOW_TEXT, Objects

MIXED = frozenset({"Job"})
"""Kinds of which Kaon applies a part only; whatever else is there stays."""
DATED = frozenset({"Deployment"})
"""Kinds whose age is looked at."""


class Server:
    """The rules for contents. Remembers what it worked out."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._made: dict[tuple[Any, ...], int] = {}

    def wanted(self, manifest: int, owner: int, *, applied: bool) -> int:
        """The manifest as the engine sends it: with the owner reference, and when applied with its hash."""
        return self._once(("wanted", manifest, owner, applied), lambda: self._wanted(manifest, owner, applied))

    def created(self, wanted: int, uid: str) -> int:
        """What is there after a create. 0: refused, since a Job's selector is the server's to make."""
        return self._once(("created", wanted, uid), lambda: self._created(wanted, uid))

    def applied(self, wanted: int, observed: int) -> int:
        """What is there after a server-side apply over what was there."""
        return self._once(("applied", wanted, observed), lambda: self._applied(wanted, observed))

    def satisfied(self, wanted: int, observed: int) -> bool:
        """Whether what is there already is what is wanted."""
        key = ("satisfied", wanted, observed)
        return bool(self._once(key, lambda: contains(self._objects[observed], self._objects[wanted])))

    def with_status(self, number: int, status: int) -> int:
        """The object with another status."""
        return self._once(("status", number, status), lambda: self._with_status(number, status))

    def _once(self, key: tuple[Any, ...], make: Any) -> int:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
        return found

    def _wanted(self, manifest: int, owner: int, applied: bool) -> int:
        made = self._objects.copy(manifest)
        if owner:
            resource = self._objects[owner]
            made["metadata"]["ownerReferences"] = [
                {
                    "apiVersion": resource["apiVersion"],
                    "kind": resource["kind"],
                    "name": resource["metadata"]["name"],
                    "uid": resource["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ]
        if applied:
            made["metadata"].setdefault("annotations", {})[APPLIED] = manifest_hash(made)
        return self._objects.number(made)

    def _created(self, wanted: int, uid: str) -> int:
        made = self._objects.copy(wanted)
        if made["kind"] == "Job" and ("uid" in made["metadata"] or "template" not in made["spec"]):
            return 0
        made["metadata"]["uid"] = uid
        made.pop("status", None)
        if made["kind"] in DATED:
            made["metadata"] |= {"generation": 1, "creationTimestamp": NOW_TEXT}
        return self._objects.number(made)

    def _applied(self, wanted: int, observed: int) -> int:
        before, over = self._objects[observed], self._objects.copy(wanted)
        if over["kind"] in MIXED:
            return self._objects.number(_merged(before, over))
        kept = {name: before["metadata"][name] for name in ("uid", "creationTimestamp") if name in before["metadata"]}
        over["metadata"] |= kept
        if "generation" in before["metadata"]:
            moved = before["spec"] != over["spec"]
            over["metadata"]["generation"] = before["metadata"]["generation"] + moved
        if "status" in before:
            over["status"] = before["status"]
        return self._objects.number(over)

    def _with_status(self, number: int, status: int) -> int:
        made: Object = dict(self._objects[number])
        made["status"] = self._objects[status]
        return self._objects.number(made)


def _merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {name: _merged(base.get(name), value) for name, value in over.items()}
    return over
