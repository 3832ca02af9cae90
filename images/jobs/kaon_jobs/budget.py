"""What is said and done where something of a user's is over its budget. Touches this process's limits only.

A stage over budget ends once, since it would read the same again. The sentence names figure, limit and way out.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import SCRATCH_VARIABLE
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import memory_limit, memory_mapped, memory_used

MEMORY_FIELD = "spec.podTemplate.resources.limits.memory"
SCRATCH_FIELD = "spec.podTemplate.resources.limits.ephemeral-storage"
_LEFT_FREE = 0.05
"""Share of a disk, or of the memory, that is left alone."""
_LARGEST_SPARE = 1024**3
"""Of a disk."""


def helm_value(field: str) -> str:
    """The Helm value behind a field of Budgets."""
    return f"budgets.{Budgets.model_fields[field].alias}"


def raising(field: str) -> str:
    """The way out that only an administrator has."""
    return f"or have an administrator raise the Helm value {helm_value(field)}"


def scratch_limit() -> int | None:
    """Bytes above which the pod is ended for its scratch space; None where there is no such limit."""
    text = os.environ.get(SCRATCH_VARIABLE, "")
    return int(text) if text.isdecimal() else None


class ByteCount:
    """Counts bytes that are copied to a disk, and stops when they are more than a budget or than the disk holds."""

    def __init__(self, limit: int, too_many: Callable[[str, int], StageFailure], scratch: Path) -> None:
        """too_many: the refusal, from what is copied and the least number of its bytes, those before it included."""
        self.limit = limit
        self.done = 0
        self._too_many = too_many
        self._scratch = scratch
        self._room = 0

    def expect(self, uri: str, size: int) -> None:
        """Refuses what by its listing is too large, before it is copied.

        Raises:
            StageFailure: the budget's own, or ScratchTooSmall.
        """
        if self.done + size > self.limit:
            raise self._too_many(uri, self.done + size)
        self._make_sure(uri, size)

    def add(self, uri: str, length: int) -> None:
        """So many bytes more were copied.

        Raises:
            StageFailure: the budget's own, or ScratchTooSmall.
        """
        self.done += length
        self._room -= length
        if self.done > self.limit:
            raise self._too_many(uri, self.done)
        if self._room < 0:
            self._make_sure(uri, 0)

    def _make_sure(self, uri: str, size: int) -> None:
        own = scratch_limit()
        if own is not None and self.done + size > (1 - _LEFT_FREE) * own:
            raise StageFailure(
                "ScratchTooSmall",
                f"{uri} and what was copied before it have at least {self.done + size:,} bytes, and the pod's scratch "
                f"space is limited to {own:,}. Raise {SCRATCH_FIELD}, or name less data.",
            )
        disk = shutil.disk_usage(_there(self._scratch))
        spare = min(int(_LEFT_FREE * disk.total), _LARGEST_SPARE)
        if size > disk.free - spare:
            raise StageFailure(
                "ScratchTooSmall",
                f"{uri} has {size:,} bytes, and the pod's scratch disk has {disk.free:,} bytes free, {spare:,} of "
                "which stay free. Give the nodes a larger disk, or name less data.",
            )
        if disk.free < spare:
            raise StageFailure(
                "ScratchTooSmall",
                f"The pod's scratch disk is full: {disk.free:,} of {disk.total:,} bytes are free while {uri} is "
                "copied. Give the nodes a larger disk, or name less data.",
            )
        # The disk is looked at again after so many bytes: others write to it too.
        self._room = min(disk.free - spare, 256 * 1024**2 if own is None else own // 100)


def _there(path: Path) -> Path:
    return path if path.exists() else _there(path.parent)


@contextmanager
def bounded_memory(refusal: Callable[[int], StageFailure]) -> Iterator[None]:
    """Inside, an allocation beyond the pod's memory limit fails as `refusal(limit)` instead of ending the pod.

    A pod that is ended for its memory is started again, and ends again.
    """
    limit = memory_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = memory_mapped() + max(0, int((1 - _LEFT_FREE) * limit) - memory_used())
    for other in (soft, hard):
        bound = bound if other == resource.RLIM_INFINITY else min(bound, other)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield
    except MemoryError as error:
        # The frames of the traceback hold what filled the memory.
        raise refusal(limit) from error.with_traceback(None)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
