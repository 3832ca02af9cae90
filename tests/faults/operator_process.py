"""The operator as a process that is started again when it ends, as a Deployment would do it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from knownkeys import root_key_file

from .forked import Forked, ForkServer

FLAGS = (
    "--storage-uri", "s3://kaon/artifacts", "--storage-secret", "kaon-store", "--retire-after-seconds", "1",
    "--health-port", "0", "--metrics-port", "0",
)  # fmt: skip
RESTART_SECONDS = 0.5


class Supervised:
    """One operator and its successors. An asynchronous context manager."""

    def __init__(
        self,
        forks: ForkServer,
        kubeconfig: Path,
        log: Path,
        flags: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        restart: bool = True,
    ) -> None:
        """restart: whether it is started again when it ends."""
        self.exits: list[int] = []
        """The exit codes of processes that ended though nobody killed them."""
        self.began = 0.0
        """When the present process was started, by the monotonic clock."""
        self._arguments = (*FLAGS, "--root-key-file", str(root_key_file(log.parent)), *flags)
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig), **(env or {})}
        self._log = log
        self._forks = forks
        self._restart = restart
        self._process: Forked
        self._killed = False
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Supervised:
        await self._begin()
        self._task = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *unused: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    @property
    def log(self) -> str:
        """What all of them logged."""
        return self._log.read_text()

    @property
    def ended(self) -> bool:
        """Whether no process runs at the moment."""
        return self._process.returncode is not None

    def kill(self) -> None:
        """SIGKILL, now."""
        self._killed = True
        self._process.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def _begin(self) -> None:
        self.began = time.monotonic()
        self._process = await self._forks.start(self._arguments, self._env, self._log)

    async def _supervise(self) -> None:
        while True:
            code = await self._process.wait()
            if not self._killed:
                self.exits.append(code)
            self._killed = False
            if not self._restart:
                return
            await asyncio.sleep(RESTART_SECONDS)
            await self._begin()
