"""The cache of everything watched, and the indexes that say whom a change concerns. No I/O; one event loop's.

Watches, resyncs and the engine's own writes all put objects here. Whatever comes late does no harm: an older version
never replaces a newer one, and an object that was seen to be deleted never comes back.

Of each object it is known that it is there, and whose it is. Its content is kept only where somebody may need it and
there is room for it: anybody may put Kaon's label on anything.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from kaon.controllers.base import Controller, Key, Object, key_of
from kaon.engine.room import Room
from kaon.engine.slim import Entry

log = logging.getLogger("kaon.cache")

At = TypeVar("At", Key, str)

GONE_SECONDS = 900.0
"""How long a deleted UID is remembered: longer than any answer that may still name it is under way."""


class Cache:
    """Objects by kind and key, with who refers to whom."""

    def __init__(
        self, controllers: Mapping[str, Controller], wake: Callable[[Key], None], room: Room | None = None
    ) -> None:
        self._controllers = controllers
        self._wake = wake
        self.room = room or Room()
        self._shares = frozenset[tuple[str, str]]().union(*(controller.shares for controller in controllers.values()))
        self._strangers: set[Key] = set()
        """Objects of others that stand where a child should be."""
        self._entries: defaultdict[str, dict[Key, Entry]] = defaultdict(dict)
        self._belongings: defaultdict[Key, set[Key]] = defaultdict(set)
        """What carries the name of a resource as its owner: its children and pods, and those of a deleted namesake."""
        self._resources: defaultdict[str, set[Key]] = defaultdict(set)
        """The resources of a namespace."""
        self._references: dict[Key, frozenset[Key]] = {}
        self._referrers: defaultdict[Key, set[Key]] = defaultdict(set)
        self._gone: dict[str, float] = {}
        self._unreadable: set[str] = set()
        self.phases: Counter[tuple[str, str]] = Counter()

    # -- looking --------------------------------------------------------------------------------------------------

    def get(self, key: Key) -> Object | None:
        """A copy of an object whose content is kept."""
        entry = self.entry(key)
        return entry.obj if entry and entry.data is not None else None

    def entry(self, key: Key) -> Entry | None:
        """What the cache knows of an object."""
        return self._entries[key.kind].get(key)

    def keys(self, kind: str) -> Collection[Key]:
        """All objects of a kind."""
        return tuple(self._entries[kind])

    def children(self, owner: Key, uid: str) -> dict[Key, Entry]:
        """The objects that the resource with this UID controls."""
        return {key: entry for key, entry in self._belonging(owner) if entry.owner_uid == uid and key.kind != "Pod"}

    def pods(self, owner: Key, uid: str) -> dict[Key, Entry]:
        """The pods that belong to the resource with this UID."""
        return {key: entry for key, entry in self._belonging(owner) if entry.owner_uid == uid and key.kind == "Pod"}

    def occupied(self, owner: Key, uid: str) -> frozenset[Key]:
        """Objects of a deleted resource of the same name, not yet collected."""
        return frozenset(key for key, entry in self._belonging(owner) if entry.owner_uid != uid and key.kind != "Pod")

    def _belonging(self, owner: Key) -> list[tuple[Key, Entry]]:
        return [(key, self._entries[key.kind][key]) for key in self._belongings.get(owner, ())]

    # -- changing -------------------------------------------------------------------------------------------------

    def put(self, obj: Object, author: Key | None = None) -> None:
        """Take an object in, unless it is older than what is known, and wake whom the change concerns.

        `author` is the resource whose reconcile wrote it, which knows already.
        """
        key, uid = key_of(obj), obj["metadata"]["uid"]
        if uid in self._gone:
            return
        old = self.entry(key)
        if old is not None and old.uid == uid:
            version = int(obj["metadata"]["resourceVersion"])
            # What was left out may have its room by now.
            if old.version > version or (old.version == version and (old.data is not None or not old.read)):
                return
        new = self._entry_of(key, obj)
        if new is None:
            return
        if old is not None and old.uid != uid:
            if old.version > new.version:
                return
            self.remove(key, old.uid)
            old = None
        if old is not None:
            self._give_room(key, old)
        new.read = self._is_read(key, new)
        if not new.read or not self.room.take(key.namespace, new.size):
            new.drop()
        self._entries[key.kind][key] = new
        if old is not None and old.mark == new.mark:
            return
        if old is not None:
            self._unlink(key, old)
        self._link(key, new, obj)
        if old is not None and old.owner != new.owner:
            self._wake_concerned(key, old)
        self._wake_concerned(key, new, author)

    def _is_read(self, key: Key, entry: Entry) -> bool:
        """Whether a plan may ever look into an object. What has Kaon's label and no owner may be anybody's."""
        return key.kind in self._controllers or entry.owner is not None or (key.kind, key.name) in self._shares

    def _give_room(self, key: Key, entry: Entry) -> None:
        if entry.read:
            self.room.give(key.namespace, entry.size, entry.data is not None)

    def meet(self, stranger: Key) -> None:
        """An object of another stands where a child should be: its namespace is woken when it changes."""
        self._strangers.add(stranger)

    def _entry_of(self, key: Key, obj: Object) -> Entry | None:
        try:
            return Entry(obj)
        except (TypeError, ValueError, RecursionError) as error:
            # An integer beyond 64 bits, or nesting without end: one such object must not stop the others.
            uid = obj["metadata"]["uid"]
            if uid not in self._unreadable:
                self._unreadable.add(uid)
                log.error(f"{key.kind} cannot be read and is ignored: {error}", extra={"object": key})
            return None

    def remove(self, key: Key, uid: str) -> None:
        """The object with this UID is deleted."""
        self._gone[uid] = time.monotonic()
        self._unreadable.discard(uid)
        entry = self.entry(key)
        if entry is not None and entry.uid == uid:
            self._take_out(key, entry)

    def _take_out(self, key: Key, entry: Entry) -> None:
        del self._entries[key.kind][key]
        self._give_room(key, entry)
        self._unlink(key, entry)
        for referred in self._references.pop(key, frozenset()):
            self._drop(self._referrers, referred, key)
        self._wake_concerned(key, entry)

    def retain(self, kind: str, namespace: str | None, listed: Collection[Key], version: int) -> int:
        """Remove what a full list, as of `version`, does not name, of a kind in a namespace (None: everywhere).

        Returns how many that were.
        """
        vanished = [
            (key, entry)
            for key, entry in self._entries[kind].items()
            if key not in listed and entry.version <= version and namespace in (None, key.namespace)
        ]
        for key, entry in vanished:
            self.remove(key, entry.uid)
        return len(vanished)

    def drop_kind(self, kind: str) -> None:
        """The cluster serves this kind no longer, or says so. If that is wrong, a list brings its objects back."""
        for key, entry in list(self._entries[kind].items()):
            self._take_out(key, entry)

    def sweep(self) -> None:
        """Forget deletions that nothing can remind of any more."""
        oldest = time.monotonic() - GONE_SECONDS
        self._gone = {uid: when for uid, when in self._gone.items() if when > oldest}
        self._strangers = {key for key in self._strangers if self.entry(key) is not None}

    # -- indexes --------------------------------------------------------------------------------------------------

    def _link(self, key: Key, entry: Entry, obj: Object) -> None:
        controller = self._controllers.get(key.kind)
        if controller is not None:
            self.phases[key.kind, entry.phase] += 1
            self._resources[key.namespace].add(key)
            self._refer(key, self._read_references(controller, key, obj))
        elif entry.owner is not None:
            self._belongings[entry.owner].add(key)

    def _unlink(self, key: Key, entry: Entry) -> None:
        if key.kind in self._controllers:
            self.phases[key.kind, entry.phase] -= 1
            self._drop(self._resources, key.namespace, key)
        elif entry.owner is not None:
            self._drop(self._belongings, entry.owner, key)

    def _read_references(self, controller: Controller, key: Key, obj: Object) -> frozenset[Key]:
        try:
            return controller.references(obj)
        except Exception:
            log.exception("The references of a resource cannot be read", extra={"object": key})
            return frozenset()

    def _refer(self, key: Key, references: frozenset[Key]) -> None:
        before = self._references.get(key, frozenset())
        for referred in before - references:
            self._drop(self._referrers, referred, key)
        for referred in references - before:
            self._referrers[referred].add(key)
        self._references[key] = references

    def references(self, key: Key) -> frozenset[Key]:
        """What a resource refers to."""
        return self._references.get(key, frozenset())

    def referred(self, key: Key) -> dict[Key, Entry]:
        """What a resource refers to and is there."""
        return {found: entry for found in self.references(key) if (entry := self.entry(found)) is not None}

    def _wake_concerned(self, key: Key, entry: Entry, author: Key | None = None) -> None:
        for concerned in self._concerned(key, entry):
            if concerned != author:
                self._wake(concerned)

    def _concerned(self, key: Key, entry: Entry) -> Iterable[Key]:
        if key.kind in self._controllers:
            return [key, *self._referrers.get(key, ())]
        if entry.owner is not None:
            return [entry.owner] if entry.owner.kind in self._controllers else []
        known = (key.kind, key.name) in self._shares or key in self._strangers
        return tuple(self._resources.get(key.namespace, ())) if known else ()

    @staticmethod
    def _drop(index: dict[At, set[Key]], at: At, key: Key) -> None:
        keys = index.get(at)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del index[at]
