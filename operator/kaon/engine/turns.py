"""Whose turn it is to read what the cache has left out: one resource's at a time, the namespaces one after the other.

Pure. A resource whose turn it is not gives its worker back, so that those of other namespaces go on.
"""

from __future__ import annotations

from collections import OrderedDict

from kaon.controllers.base import Key


class Turns:
    """One turn, and the keys that wait for it."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: OrderedDict[str, dict[Key, None]] = OrderedDict()

    def take(self, key: Key) -> bool:
        """Whether `key` has the turn now. If not, it is told by `following` when to ask again."""
        if self._taken:
            self._waiting.setdefault(key.namespace, {})[key] = None
            return False
        self._taken = True
        return True

    def give(self) -> None:
        """The turn is over."""
        self._taken = False

    def following(self) -> Key | None:
        """Who should ask next, if the turn is free and somebody waits. Nobody waits any more who was told so."""
        if self._taken or not self._waiting:
            return None
        namespace, keys = self._waiting.popitem(last=False)
        key = next(iter(keys))
        del keys[key]
        if keys:
            self._waiting[namespace] = keys
        return key
