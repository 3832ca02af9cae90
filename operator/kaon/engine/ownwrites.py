"""A key is planned again only when the watches have brought the operator's own last writes for it. No I/O.

The answer to a write goes into the cache at once, but what others did before it may still be on its way: a plan from
such a view can rest upon what is gone. So each write's resource version is remembered by key, as Kubernetes' own
controllers do it, and the next plan waits for the watch of that kind to have come as far. Resource versions of a kind
are comparable (Kubernetes 1.35; before by etcd's nature).

A watch that is broken must not block a key: after PATIENCE_SECONDS it is planned from what is there. A deletion whose
answer names no version asks for nothing: the cache remembers the UID. What is asked of a watch is met by any later
event, bookmark or list of it too, so an object that is deleted meanwhile holds nobody up.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from kaon.controllers.base import Key, Object, key_of
from kaon.engine import metrics

PATIENCE_SECONDS = 5.0
"""How long a plan waits for a watch at most. Watches lag by milliseconds, in a crowd by a second or two."""

Place = tuple[str, str | None]
"""A kind and a watch's scope: a namespace, or None for all of them."""


@dataclass(frozen=True, slots=True)
class _Write:
    """A write that its watch has not brought yet."""

    version: int
    when: float


class OwnWrites:
    """Which of the operator's writes are still to be seen, by the key that was reconciled."""

    def __init__(self, wake: Callable[[Key], None], *, by_namespace: bool = False) -> None:
        """wake: queues a key that waited. by_namespace: each namespace has a watch of its own."""
        self._wake = wake
        self._by_namespace = by_namespace
        self._unseen: defaultdict[Key, dict[Place, _Write]] = defaultdict(dict)
        self._reached: dict[Place, int] = {}
        """How far each ordered watch has come, and each list."""
        self._objects: dict[Key, int] = {}
        """How far kopf's watch has come with each custom resource."""
        self._waiting: defaultdict[Place, list[tuple[int, Key]]] = defaultdict(list)
        """Heaps of (version, key), of what ordered watches have yet to bring."""
        self._statuses: defaultdict[Place, set[Key]] = defaultdict(set)
        """Resources whose own status is yet to be brought."""
        self._parked: set[Key] = set()

    # -- what is written ------------------------------------------------------------------------------------------

    def wrote(self, owner: Key, answer: Object) -> None:
        """The reconcile of `owner` was answered with this object."""
        key, version = key_of(answer), int(answer["metadata"]["resourceVersion"])
        place = self._place(key)
        if max(self._reached.get(place, 0), self._objects.get(key, 0)) >= version:
            return
        before = self._unseen[owner].get(place)
        if before is None or before.version < version:
            self._unseen[owner][place] = _Write(version, time.monotonic())
            if key == owner:
                self._statuses[place].add(owner)
            else:
                heapq.heappush(self._waiting[place], (version, owner))

    def wait_for(self, owner: Key) -> float | None:
        """Seconds that `owner` should not be planned for; it is queued before, when all is seen. None: plan now."""
        unseen = self._unseen.get(owner)
        if not unseen:
            return None
        left = max(write.when for write in unseen.values()) + PATIENCE_SECONDS - time.monotonic()
        if left > 0:
            self._parked.add(owner)
            return left
        for place in unseen:
            metrics.CACHE_LAG.labels(place[0]).observe(PATIENCE_SECONDS)
        self.forget(owner)
        return None

    def waits(self, owner: Key) -> bool:
        """Whether a write of `owner` is still to be seen."""
        return owner in self._unseen

    def forget(self, owner: Key) -> None:
        """Nothing is waited for any more: the object is gone, or it took too long."""
        for place in self._unseen.pop(owner, {}):
            self._statuses[place].discard(owner)
        self._parked.discard(owner)

    def unseen(self) -> int:
        """How many keys have a write that is not seen yet."""
        return len(self._unseen)

    # -- what is seen ---------------------------------------------------------------------------------------------

    def reached(self, kind: str, scope: str | None, version: int) -> None:
        """The ordered watch of a kind, or a list, has brought everything up to this version."""
        place = kind, scope
        if version <= self._reached.get(place, 0):
            return
        self._reached[place] = version
        waiting = self._waiting.get(place)
        while waiting and waiting[0][0] <= version:
            self._see(heapq.heappop(waiting)[1], place, version)
        for owner in tuple(self._statuses.get(place, ())):
            self._see(owner, place, version)

    def saw(self, obj: Object) -> None:
        """kopf has brought an object. Its events come in order for each object, and not for a kind."""
        key, version = key_of(obj), int(obj["metadata"]["resourceVersion"])
        self._objects[key] = max(version, self._objects.get(key, 0))
        self._see(key, self._place(key), version)

    def saw_gone(self, key: Key) -> None:
        """kopf says that an object is deleted."""
        self._objects.pop(key, None)
        self.forget(key)

    def _see(self, owner: Key, place: Place, version: int) -> None:
        unseen = self._unseen.get(owner, {})
        write = unseen.get(place)
        if write is None or write.version > version:
            return
        del unseen[place]
        self._statuses[place].discard(owner)
        metrics.CACHE_LAG.labels(place[0]).observe(time.monotonic() - write.when)
        if not unseen:
            del self._unseen[owner]
            if owner in self._parked:
                self._parked.discard(owner)
                self._wake(owner)

    def _place(self, key: Key) -> Place:
        return key.kind, key.namespace if self._by_namespace else None
