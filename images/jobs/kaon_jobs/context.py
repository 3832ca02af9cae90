"""What a stage gets beside its work: whom to report to, where to write, which attempt it is, when to stop."""

from __future__ import annotations

import os
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kaon.api.common import Cost
from kaon.contract.budgets import Budgets
from kaon_jobs.errors import Terminated
from kaon_jobs.fetched import FetchedModel, FetchedSource
from kaon_jobs.report.reporter import Reporter


def now() -> str:
    """This second, as an API timestamp."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Context:
    """One attempt at one stage. `start_time` and `cost()` belong in its Result."""

    reporter: Reporter
    workdir: Path
    """Scratch space of this attempt alone; gone with the pod."""
    attempt: str
    """Prefix of this attempt's files in the store."""
    sources: Sequence[FetchedSource] | None = None
    """Of a Dataset, once they are copied."""
    base_model: FetchedModel | None = None
    """Of a TrainingRun, once it is copied."""
    budgets: Budgets = field(default_factory=Budgets)
    """How much it reads of what users give."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when SIGTERM has come."""
    start_time: str = field(default_factory=now)
    _started: float = field(default_factory=time.monotonic)
    _deferred: bool = False

    @contextmanager
    def deferring_stop(self) -> Iterator[None]:
        """Inside, SIGTERM only sets `stop`: for work that saves itself and then raises Terminated.

        Outside, SIGTERM raises Terminated wherever the stage happens to be; nothing half-done ever counts, since the
        manifest is put last.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
            if self.stop.is_set():
                raise Terminated

    def on_sigterm(self) -> None:
        """The signal handler's part."""
        self.stop.set()
        if not self._deferred:
            raise Terminated

    def cost(self) -> Cost:
        """What this attempt has used so far, its child processes included."""
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        wall = time.monotonic() - self._started
        # A GPU is held for as long as the pod runs, busy or not. Without torch loaded, none was used.
        torch = sys.modules.get("torch")
        gpus = torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0
        return Cost(
            cpu_seconds=round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 2),
            gpu_seconds=round(wall * gpus, 2),
            wall_seconds=round(wall, 2),
        )


def attempt_id() -> str:
    """A name for this attempt that is safe in a path: the pod's, or host and process where there is no pod."""
    name = os.environ.get("POD_NAME") or f"{os.environ.get('HOSTNAME') or socket.gethostname()}-{os.getpid()}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip(".-")[:128] or f"attempt-{os.getpid()}"
