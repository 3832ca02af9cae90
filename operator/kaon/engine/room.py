"""How many bytes of each namespace's objects the cache may keep. Pure.

Whoever may create objects decides how many there are and how large. So each namespace has a bound of its own: what is
above it is not kept, but read from the API server whenever it is needed, which slows that namespace alone.
"""

from __future__ import annotations

import logging
from collections import Counter

log = logging.getLogger("kaon.room")

NAMESPACE_BYTES = 32 * 2**20
"""Some 5,000 resources with their Jobs, Reports and pods."""
OBJECT_BYTES = 128 * 2**10
"""No single object takes more: few objects of everyday use have a tenth of it."""


class Room:
    """What is kept, by namespace."""

    def __init__(self, namespace_bytes: int = NAMESPACE_BYTES, object_bytes: int = OBJECT_BYTES) -> None:
        self._namespace_bytes, self._object_bytes = namespace_bytes, object_bytes
        self._kept: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._told: set[str] = set()

    @property
    def kept_bytes(self) -> int:
        """Bytes that are kept of all namespaces."""
        return self._kept.total()

    @property
    def left_out(self) -> int:
        """Objects that are not kept, of all namespaces."""
        return self._left_out.total()

    @property
    def full(self) -> int:
        """Namespaces with objects that are not kept."""
        return len(self._left_out)

    def take(self, namespace: str, size: int) -> bool:
        """Whether an object of this size is kept. Either way it is counted, and has to be given back."""
        if size <= self._object_bytes and self._kept[namespace] + size <= self._namespace_bytes:
            self._kept[namespace] += size
            return True
        self._left_out[namespace] += 1
        if namespace not in self._told:
            self._told.add(namespace)
            log.warning(
                f"objects of namespace {namespace} are too large to be kept in memory: of each namespace "
                f"{self._namespace_bytes // 2**20} MiB are, and of each object {self._object_bytes // 2**10} KiB. The "
                "others are read whenever they are needed, so that its resources are reconciled more slowly",
                extra={"namespace": namespace, "bytes": size},
            )
        return False

    def give(self, namespace: str, size: int, kept: bool) -> None:
        """An object is gone, or about to be replaced."""
        counter, amount = (self._kept, size) if kept else (self._left_out, 1)
        counter[namespace] -= amount
        if counter[namespace] <= 0:
            del counter[namespace]
        if namespace not in self._kept and namespace not in self._left_out:
            self._told.discard(namespace)
