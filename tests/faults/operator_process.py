"""The operator as a process that is started again when it ends, as a Deployment would do it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FLAGS = (
    "--storage-uri", "s3://kaon/artifacts", "--storage-secret", "kaon-store", "--retire-after-seconds", "1",
    "--health-port", "0", "--metrics-port", "0",
)  # fmt: skip
PROGRAM = ("-m", "kaon.engine.main")
RESTART_SECONDS = 0.5


class Supervised:
    """One operator and its successors. An asynchronous context manager."""

    def __init__(
        self,
        kubeconfig: Path,
        log: Path,
        flags: Sequence[str] = (),
        *,
        program: Sequence[str] = PROGRAM,
        env: Mapping[str, str] | None = None,
        restart: bool = True,
    ) -> None:
        """restart: whether it is started again when it ends."""
        self.exits: list[int] = []
        """The exit codes of processes that ended though nobody killed them."""
        self.kills = 0
        self._command = [sys.executable, *program, *FLAGS, *flags]
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig), **(env or {})}
        self._log = log
        self._restart = restart
        self._process: asyncio.subprocess.Process
        self._killed = False
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Supervised:
        await self._start()
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
        self.kills += 1
        self._process.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, env=self._env, stdout=log, stderr=log)

    async def _supervise(self) -> None:
        while True:
            code = await self._process.wait()
            if not self._killed:
                self.exits.append(code)
            self._killed = False
            if not self._restart:
                return
            await asyncio.sleep(RESTART_SECONDS)
            await self._start()
