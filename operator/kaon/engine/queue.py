"""The keyed work queue: one worker a key, no key twice, none lost. Pure but for the event loop's timers.

A key that is added while it is worked on runs again afterwards. After each run a key rests for a moment, so that the
burst of events that one change causes (a Job, its pod, their status) becomes one reconcile and not ten.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

from kaon.controllers.base import Key

REST_SECONDS = 0.1
BACKOFF_FIRST = 0.5
BACKOFF_MAX = 120.0


def backoff(failures: int, jitter: Callable[[], float] = random.random, most: float = BACKOFF_MAX) -> float:
    """Seconds to wait after that many failures in a row (1, 2, …): doubled each time, bounded, half of it random."""
    ceiling = min(most, BACKOFF_FIRST * 2.0 ** min(failures - 1, 16))
    return ceiling * (0.5 + 0.5 * jitter())


class WorkQueue:
    """Keys that want to be reconciled."""

    def __init__(self, rest: float = REST_SECONDS) -> None:
        self._rest = rest
        self._ready: deque[Key] = deque()
        self._since: dict[Key, float] = {}
        """Since when a ready key has waited; its keys are those of `_ready`."""
        self._busy: set[Key] = set()
        self._dirty: set[Key] = set()
        """Keys that were added while busy."""
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wanted = asyncio.Semaphore(0)

    def __len__(self) -> int:
        return len(self._ready)

    def oldest(self) -> float:
        """Seconds that the first ready key has waited; 0 when there is none."""
        return asyncio.get_running_loop().time() - self._since[self._ready[0]] if self._ready else 0.0

    def add(self, key: Key) -> None:
        """Let a key be worked on as soon as may be."""
        if key in self._busy:
            self._dirty.add(key)
        elif key not in self._since:
            self._since[key] = asyncio.get_running_loop().time()
            self._ready.append(key)
            self._wanted.release()

    async def get(self) -> Key:
        """The next key. Whoever took it must say `done` or `failed`."""
        await self._wanted.acquire()
        key = self._ready.popleft()
        del self._since[key]
        self._busy.add(key)
        return key

    def done(self, key: Key, again_after: float | None = None) -> None:
        """The work went well; look again after that time, if any. Replaces what was planned before."""
        self._failures.pop(key, None)
        self._release(key, again_after)

    def later(self, key: Key, again_after: float) -> None:
        """No work was done: look again after that time. What had failed before counts on."""
        self._release(key, again_after)

    def failed(self, key: Key, at_least: float | None = None) -> float:
        """The work failed: try again after a growing time, and not before `at_least`. Returns that time."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(backoff(self._failures[key]), at_least or 0.0)
        self._release(key, delay)
        return delay

    def forget(self, key: Key) -> None:
        """The object is gone: drop its timer and its failures. Work that is already asked for still runs."""
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _release(self, key: Key, again_after: float | None) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if again_after is not None:
            self._timers[key] = loop.call_later(max(again_after, self._rest), self._due, key)
        loop.call_later(self._rest, self._rested, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _rested(self, key: Key) -> None:
        self._busy.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key)
