"""Whose turn it is to read what the cache has left out: two resources' at a time, the namespaces one after the other.

Pure. A resource whose turn it is not gives its worker back, so that those of other namespaces go on.
"""

from __future__ import annotations

from collections import OrderedDict

from kaon.controllers.base import Key

AT_ONCE = 2
"""What is read takes up to ten times its bytes while it is looked at."""


class Turns:
    """The turns, and the keys that wait for one."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, dict[Key, None]] = OrderedDict()

    def take(self, key: Key) -> bool:
        """Whether `key` has a turn now. If not, it is told by `following` when to ask again."""
        if not self._free:
            self._waiting.setdefault(key.namespace, {})[key] = None
            return False
        self._free -= 1
        return True

    def give(self) -> None:
        """A turn is over."""
        self._free += 1

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def following(self) -> Key | None:
        """Who should ask next, if a turn is free and somebody waits. Nobody waits any more who was told so."""
        if not self._free or not self._waiting:
            return None
        namespace, keys = self._waiting.popitem(last=False)
        key = next(iter(keys))
        del keys[key]
        if keys:
            self._waiting[namespace] = keys
        return key
