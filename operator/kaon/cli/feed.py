"""A pipeline's objects kept current by watches: one thread a kind, reconnecting, telling the main thread by a queue.

Nothing is polled: a change arrives when the API server sends it. After a lost connection or an expired version the kind
is listed again, so that deletions in between are seen too.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from kaon.cli.cluster import Cluster, WatchExpired
from kaon.cli.errors import CliError, ConnectionLost
from kaon.cli.pipeline import KINDS

Object = dict[str, Any]
MAX_BACKOFF_SECONDS = 15.0


@dataclass
class Board:
    """The objects known now, and what is wrong with the connection."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def listed(self, kind: str, items: list[Object]) -> None:
        """Replaces everything known of a kind."""
        self.lost.pop(kind, None)
        for key in [key for key in self.objects if key[0] == kind]:
            del self.objects[key]
        for item in items:
            self.objects[kind, item["metadata"]["name"]] = item

    def changed(self, event: str, obj: Object) -> None:
        """Takes one watch event in."""
        key = obj["kind"], obj["metadata"]["name"]
        if event == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj

    @property
    def note(self) -> str:
        """One line about a broken connection, or nothing."""
        return next(iter(self.lost.values()), "")


@dataclass(frozen=True)
class Listed:
    kind: str
    items: list[Object]


@dataclass(frozen=True)
class Changed:
    event: str
    obj: Object


@dataclass(frozen=True)
class Lost:
    kind: str
    message: str


@dataclass(frozen=True)
class Broken:
    error: CliError


class Feed:
    """The four watches of a namespace. Construct, then call `update` until satisfied."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.board = Board()
        self._cluster = cluster
        self._namespace = namespace
        self._events: queue.SimpleQueue[Listed | Changed | Lost | Broken] = queue.SimpleQueue()
        self._versions: dict[str, str] = {}
        # The first lists are made here, so that a command fails at once where no cluster is.
        for kind in KINDS:
            items, self._versions[kind] = cluster.list(kind, namespace)
            self.board.listed(kind, items)

    def start(self) -> None:
        """Starts the watches. Daemon threads: they hold nothing that must be put away."""
        for kind in KINDS:
            threading.Thread(target=self._follow, args=(kind, self._versions[kind]), daemon=True).start()

    def update(self, seconds: float) -> bool:
        """Waits up to `seconds` for changes and takes in all there are. True when something changed.

        Raises:
            CliError: a watch ended for a reason that trying again does not mend.
        """
        deadline = time.monotonic() + seconds
        changed = False
        while True:
            try:
                event = self._events.get(timeout=0 if changed else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return changed
            changed = True
            if isinstance(event, Listed):
                self.board.listed(event.kind, event.items)
            elif isinstance(event, Changed):
                self.board.changed(event.event, event.obj)
            elif isinstance(event, Lost):
                self.board.lost[event.kind] = event.message
            else:
                raise event.error

    def _follow(self, kind: str, version: str | None) -> None:
        backoff = 1.0
        while True:
            try:
                if version is None:
                    items, version = self._cluster.list(kind, self._namespace)
                    self._events.put(Listed(kind, items))
                for event, obj in self._cluster.watch(kind, self._namespace, version):
                    version = obj["metadata"]["resourceVersion"]
                    if event != "BOOKMARK":
                        self._events.put(Changed(event, obj))
                backoff = 1.0
            except WatchExpired:
                version = None
            except ConnectionLost as error:
                self._events.put(Lost(kind, f"{error.message}; trying again"))
                version = None
                time.sleep(backoff * random.uniform(0.5, 1))
                backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
            except CliError as error:
                self._events.put(Broken(error))
                return
