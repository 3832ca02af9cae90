"""When a status is written that has changed and has no news: some turns a second, shared by the namespaces. No I/O.

However many resources there are, their Jobs and results come first; most turns come after the news that make them
unneeded. Each namespace has an equal share of the turns, so that a crowd in one keeps no other waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from kaon.controllers.base import Key

STATUS_SECONDS = 2.0
"""Between two writes of a resource's status while nothing in it is news."""
WORD_SECONDS = 0.1
"""Between two such writes of any resources."""
CROWD = 100
"""As many of one namespace may wait until its turns come less often: most of a crowd has news before its turn."""
LEAST_OFTEN = 5.0
"""How much less often at most."""


class Pace:
    """The turns of resources whose status has changed, but has no news."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """clock: seconds that only grow; default: the system's."""
        self._clock = clock or (lambda: time.monotonic())
        self._turns: dict[Key, tuple[float, float]] = {}
        """When the turn of a resource comes, and what it cost its namespace."""
        self._waiting: Counter[str] = Counter()
        self._next: dict[str, float] = {}
        """When the next turn of a namespace that waits can be."""
        self._told: dict[Key, float] = {}
        """When the status of a resource was last written."""

    def due(self, key: Key) -> float:
        """Seconds until the status of `key` should be written; it has a turn from now on."""
        now = self._clock()
        turn = self._turns.get(key)
        if turn is None:
            namespace = key.namespace
            self._waiting[namespace] += 1
            cost = WORD_SECONDS * len(self._waiting) * min(max(1.0, self._waiting[namespace] / CROWD), LEAST_OFTEN)
            earliest = max(now, self._next.get(namespace, 0.0))
            turn = max(earliest, self._told.get(key, now - STATUS_SECONDS) + STATUS_SECONDS), cost
            self._turns[key] = turn
            self._next[namespace] = earliest + cost
        return max(0.0, turn[0] - now)

    def wrote(self, key: Key) -> None:
        """The status of `key` was written, with news or without."""
        self.give_back(key)
        self._told[key] = self._clock()

    def give_back(self, key: Key) -> None:
        """`key` needs no turn any more; one that was still to come goes to the others of its namespace."""
        turn = self._turns.pop(key, None)
        if turn is None:
            return
        namespace = key.namespace
        self._waiting[namespace] -= 1
        if turn[0] > self._clock():
            self._next[namespace] -= turn[1]
        if not self._waiting[namespace]:
            # Past turns are forgotten only when they are over: a namespace is no faster for asking one at a time.
            del self._waiting[namespace]
            if self._next[namespace] <= self._clock():
                del self._next[namespace]

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self.give_back(key)
        self._told.pop(key, None)
