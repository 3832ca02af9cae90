"""What the real engine stands on in the mirror: a client whose requests wait, a queue, clocks. No I/O."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from kaon.controllers.base import Key, Object
from kaon.engine.resources import PROVIDED, RESOURCES

from .model import name_of
from .objects import NOW

PLURALS = {resource.plural: resource.kind for resource in RESOURCES.values()}


class Differs(AssertionError):
    """The engine did something else than the model says."""


@dataclass
class Request:
    """A request of the engine that waits for its answer."""

    verb: str
    path: str
    body: Any

    def __await__(self) -> Generator[Request, Object, Object]:
        return (yield self)

    @property
    def key(self) -> Key:
        """The object that it is about."""
        parts = self.path.strip("/").split("/")
        at = parts.index("namespaces")
        namespace, plural = parts[at + 1 : at + 3]
        name = parts[at + 3] if len(parts) > at + 3 else self.body["metadata"]["name"]
        return Key(PLURALS[plural], namespace, name)

    @property
    def about_status(self) -> bool:
        """Whether it is about the status alone."""
        return self.path.endswith("/status")


class Client:
    """What the Applier writes through."""

    async def create(self, path: str, manifest: Object) -> Object:
        if RESOURCES[manifest["kind"]] in PROVIDED:
            return manifest  # whatever becomes of it, nobody looks at it
        return await Request("create", path, manifest)

    async def apply(self, path: str, manifest: Object) -> Object:
        return await Request("apply", path, manifest)

    async def replace(self, path: str, manifest: Object) -> Object:
        return await Request("replace", path, manifest)

    async def delete(self, path: str, uid: str) -> Object:
        return await Request("delete", path, uid)

    async def get(self, path: str) -> Object:
        return await Request("get", path, None)


class Queue:
    """The work queue without its clock: a key with a timer may come at any time."""

    def __init__(self) -> None:
        self.keys: set[Key] = set()

    def __len__(self) -> int:
        return 0  # never a crowd

    def add(self, key: Key) -> None:
        self.keys.add(key)

    def done(self, key: Key, again_after: float | None = None) -> None:
        if again_after is not None:
            self.keys.add(key)

    def later(self, key: Key, again_after: float) -> None:
        raise Differs(f"{name_of(key)} waits for its own write, and in the model it does not")

    def failed(self, key: Key, at_least: float | None = None) -> float:
        self.keys.add(key)
        return 0.0

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""


class Recorder:
    def record(self, obj: Object, event: object) -> None:
        """Events are not looked at."""


class Clock:
    """Time for the engine: stands still for plans, and long passes between two statuses."""

    def __init__(self) -> None:
        self._seconds = 0.0

    @staticmethod
    def now(zone: object) -> object:
        return NOW

    def monotonic(self) -> float:
        self._seconds += 1000.0
        return self._seconds


class Still:
    """Time for what is waited for: passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds
