"""Makes a Plan's children true: applies what differs, creates what is missing, prunes what is not planned any more.

Decides from the cache and writes through the client; every answer goes back into the cache, so that the next look sees
it before the watch does. Writes nothing where nothing differs.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from kaon.api import conditions as c
from kaon.controllers.base import Child, Key, Object, Plan, key_of
from kaon.controllers.conditions import is_true
from kaon.engine.cache import Cache
from kaon.engine.client import ApiError, Client
from kaon.engine.diff import APPLIED, contains, manifest_hash
from kaon.engine.logs import about
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.pace import Pace
from kaon.engine.resources import RESOURCES
from kaon.engine.slim import Entry, slim
from kaon.resources.labels import MANAGED_BY, MANAGER

log = logging.getLogger("kaon.apply")

OCCUPIED_SECONDS = 2.0
PROVIDE_SECONDS = 60.0
"""A Secret that somebody has deleted is made again after so long at the latest, while stages need it."""
NOTHING: Mapping[Key, Object] = MappingProxyType({})
_FOR_EYES = frozenset({"phase", "progress", "startTime", "attempts"})


class OccupiedError(Exception):
    """A child's name is taken by an object of another owner.

    `passing`: that owner is a deleted namesake of the resource, and the object is about to be collected.
    """

    def __init__(self, key: Key, passing: bool) -> None:
        super().__init__(f"{key.kind} {key.name} belongs to another owner")
        self.key, self.passing = key, passing


class OutdatedError(Exception):
    """The resource had a child that the plan knew nothing of. It is in the cache now, and the plan worth nothing."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """An apply whose result never equals what is wanted (the server writes a value in another form): once is enough."""

    wanted: str
    version: str


class Applier:
    """Applies plans. One for all workers."""

    def __init__(self, client: Client, cache: Cache, own: OwnWrites) -> None:
        self._client = client
        self._cache = cache
        self._own = own
        self._settled: dict[Key, _Settled] = {}
        self._doubts: defaultdict[Key, set[Key]] = defaultdict(set)
        """By resource, children whose last write may or may not have taken effect."""
        self._pace = Pace()
        self._equal: dict[Key, tuple[Object, bytes]] = {}
        """Of what resources share: the manifest that was last found to be there, and the mark of what was there."""
        self._provided: dict[Key, float] = {}
        """When an object that may not be read was last seen to be there."""

    async def children(self, owner: Object, plan: Plan, read: Mapping[Key, Object] = NOTHING) -> bool:
        """Children in the plan's order, then prune. Says whether anything was written.

        `read`: what was just read of those that the cache has left out.
        The first error ends it, OutdatedError among them: later children may need earlier ones.
        """
        uid = owner["metadata"]["uid"]
        wrote = False
        for child in plan.children:
            with self._doubting(key_of(owner), key_of(child.manifest)):
                wrote |= await self._child(owner, uid, child, read)
        planned = {key_of(child.manifest) for child in plan.children}
        for key, entry in self._cache.children(key_of(owner), uid).items():
            if key not in planned and RESOURCES[key.kind].managed and not entry.deleting:
                with self._doubting(key_of(owner), key):
                    await self._delete(key, entry.uid, key_of(owner))
                wrote = True
        return wrote

    @contextmanager
    def _doubting(self, owner: Key, key: Key) -> Iterator[None]:
        try:
            yield
        except ApiError as error:
            if error.doubtful:
                self._doubts[owner].add(key)
            raise

    async def resolve_doubts(self, owner: Key) -> None:
        """Read what became of writes that had no answer, so that the next plan is not made from before them."""
        for key in tuple(self._doubts.get(owner, ())):
            await self.look_up(owner, key)
            self._doubts[owner].discard(key)
        self._doubts.pop(owner, None)

    async def look_up(self, owner: Key, key: Key) -> None:
        """Read an object of `owner` into the cache, whatever the watches have brought of it so far."""
        try:
            found = await self._client.get(RESOURCES[key.kind].path(key.namespace, key.name))
        except ApiError as error:
            if error.status != 404:
                raise
            entry = self._cache.entry(key)
            if entry is not None:
                self._cache.remove(key, entry.uid)
        else:
            # A stranger's is seen again by whoever comes upon its name; no watch would ever take it away.
            if found["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER:
                self._cache.put(found, author=owner)

    async def read(self, key: Key) -> tuple[Object, int] | None:
        """An object as the cache would keep it, and its version. By a list: every kind may be listed."""
        resource = RESOURCES[key.kind]
        found = await self._client.get(resource.path(key.namespace), fieldSelector=f"metadata.name={key.name}")
        for item in found.get("items") or ():
            obj = {**item, "kind": resource.kind, "apiVersion": resource.api_version}
            return slim(obj), int(item["metadata"]["resourceVersion"])
        return None

    def status_due(self, owner: Object, status: Object) -> float | None:
        """Seconds until a status should be written: 0 when it has news; None when nothing differs.

        News is what somebody may act upon. That work has begun and how far it is are words for people's eyes, and wait
        for their turn: in a crowd most turns come after the news that make them unneeded.
        """
        key = key_of(owner)
        observed = owner.get("status", {})
        if observed == status or self._settled.get(key) == _Settled(manifest_hash(status), manifest_hash(observed)):
            self._pace.give_back(key)
            return None
        first = not observed and is_true({**owner, "status": status}, c.RECONCILING)
        if not first and _news(observed) != _news(status):
            return 0.0
        return self._pace.due(key)

    async def status(self, owner: Object, version: int, status: Object) -> None:
        """Replace the whole status, which nobody else writes.

        `version` is the resource version that the status was planned from: the server refuses (409) a status for
        anything newer, or for a namesake made meanwhile. Not by server-side apply: that costs the API server more, and
        fails (500) for every field that CRDs older than this operator lack, where a replacement is stored without it.
        """
        key = key_of(owner)
        body = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "metadata": {"name": key.name, "namespace": key.namespace, "resourceVersion": str(version)},
            "status": status,
        }
        answer = await self._client.replace(RESOURCES[key.kind].path(key.namespace, key.name, "status"), body)
        self._pace.wrote(key)
        found = answer.get("status", {})
        self._settle(key, manifest_hash(status), found == status, manifest_hash(found))
        self._took(answer, key)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._own.forget(key)
        self._settled.pop(key, None)
        self._pace.forget(key)
        self._doubts.pop(key, None)

    async def _child(self, owner: Object, uid: str, child: Child, read: Mapping[Key, Object]) -> bool:
        key = key_of(child.manifest)
        entry = self._cache.entry(key)
        if child.owned and entry is not None and entry.owner_uid != uid:
            self._cache.meet(key)
            raise OccupiedError(key, entry.owner == key_of(owner))
        if child.mode == "keep":
            return False
        if child.mode == "provide":
            return await self._provide(key, child.manifest)
        if child.mode == "apply":
            equal = self._equal.get(key)
            if equal is not None and entry is not None and equal[0] is child.manifest and equal[1] == entry.mark:
                return False
            if entry is None and child.owned:
                await self._see(key, owner)
                entry = self._cache.entry(key)
            wrote = await self._apply(key, _finished(child, owner), entry, read.get(key), key_of(owner))
            if not child.owned and not wrote and entry is not None:
                self._equal[key] = child.manifest, entry.mark
            return wrote
        if entry is None:
            await self._create(key, _finished(child, owner), owner if child.owned else None, key_of(owner))
        return entry is None

    async def _provide(self, key: Key, manifest: Object) -> bool:
        """Create an object that may not be read, unless this was tried a moment ago."""
        now = time.monotonic()
        if now - self._provided.get(key, -PROVIDE_SECONDS) < PROVIDE_SECONDS:
            return False
        try:
            await self._client.create(RESOURCES[key.kind].path(key.namespace), manifest)
            log.info("created", extra=about(key))
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise
        self._provided[key] = now
        return False

    async def _see(self, key: Key, owner: Object) -> None:
        """Look for an object that the watches do not show, before it is applied over: it may be anybody's.

        Raises:
            OccupiedError: it is another's.
        """
        try:
            found = await self._client.get(RESOURCES[key.kind].path(key.namespace, key.name))
        except ApiError as error:
            if error.status == 404 and not error.namespace_ends:
                return
            raise
        _check_owner(key, found, owner)

    async def _apply(self, key: Key, manifest: Object, entry: Entry | None, read: Object | None, author: Key) -> bool:
        wanted = manifest_hash(manifest)
        manifest["metadata"].setdefault("annotations", {})[APPLIED] = wanted
        compared = slim(manifest)
        observed = entry.obj if entry is not None and entry.data is not None else read
        if entry is not None and (
            (observed is not None and contains(observed, compared))
            or self._settled.get(key) == _Settled(wanted, _version(entry))
        ):
            return False
        answer = await self._client.apply(RESOURCES[key.kind].path(key.namespace, key.name), manifest)
        log.info("applied", extra=about(key, owner=author.name))
        self._took(answer, author)
        made = self._cache.entry(key)
        if made is not None:
            # What is not kept cannot be compared: it counts as it is now, until it is seen to change.
            equal = made.data is not None and contains(made.obj, compared)
            self._settle(key, wanted, equal, _version(made))
        return True

    async def _create(self, key: Key, manifest: Object, owner: Object | None, author: Key) -> None:
        resource = RESOURCES[key.kind]
        try:
            answer = await self._client.create(resource.path(key.namespace), manifest)
            log.info("created", extra=about(key, owner=author.name))
        except ApiError as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise
            # Made before a crash, or not yet seen by the watch. Whose it is must be known before it counts as ours.
            answer = await self._client.get(resource.path(key.namespace, key.name))
            if owner is not None:
                _check_owner(key, answer, owner)
                self._took(answer, author)
                raise OutdatedError from error
        self._took(answer, author)

    def _took(self, answer: Object, author: Key) -> None:
        """An answer of the API server: the cache has it, and the watch has yet to bring it."""
        self._cache.put(answer, author)
        self._own.wrote(author, answer)

    async def _delete(self, key: Key, uid: str, author: Key) -> None:
        try:
            answer = await self._client.delete(RESOURCES[key.kind].path(key.namespace, key.name), uid)
        except ApiError as error:
            if error.status not in (404, 409):  # 409: the name has another UID by now
                raise
            answer = {}
        log.info("pruned", extra=about(key))
        if answer.get("kind") == key.kind and "deletionTimestamp" in answer.get("metadata", {}):
            self._cache.put(answer)
            self._own.wrote(author, answer)
        else:
            self._cache.remove(key, uid)
        self.forget(key)

    def _settle(self, key: Key, wanted: str, equal: bool, version: str) -> None:
        if equal:
            self._settled.pop(key, None)
        else:
            self._settled[key] = _Settled(wanted, version)


def _check_owner(key: Key, found: Object, owner: Object) -> None:
    references = found["metadata"].get("ownerReferences", ())
    controller: Object = next((reference for reference in references if reference.get("controller")), {})
    if controller.get("uid") != owner["metadata"]["uid"]:
        namesake = (owner["kind"], owner["metadata"]["name"])
        raise OccupiedError(key, (controller.get("kind"), controller.get("name")) == namesake)


def _finished(child: Child, owner: Object) -> Object:
    """A copy of the manifest with the owner reference; the rest is shared with the plan and not changed."""
    metadata = dict(child.manifest["metadata"])
    metadata["annotations"] = dict(metadata.get("annotations", {}))
    if child.owned:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    if not metadata["annotations"]:
        del metadata["annotations"]
    return {**child.manifest, "metadata": metadata}


def _news(status: Object) -> Object:
    """The part of a status that somebody may act upon: all but how far the work is, in figures and in words."""
    conditions = [(item.get("type"), item.get("status")) for item in status.get("conditions", ())]
    return {name: value for name, value in status.items() if name not in _FOR_EYES} | {"conditions": conditions}


def _version(entry: Entry) -> str:
    """What changes when somebody edits the object, and not when its status does."""
    return str(entry.generation) if entry.generation is not None else entry.mark.hex()
