"""Operators that start in a tenth of a second: a process that has imported everything forks one for each wish.

A run lasts three seconds and importing the operator takes two.
So all runs of a sweep have the same code, too.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .clock import VARIABLE, install

TESTS = Path(__file__).resolve().parents[1]
PR_SET_PDEATHSIG = 1


class ForkServer:
    """The process that forks. An asynchronous context manager."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> ForkServer:
        command, pipe = [sys.executable, "-m", "faults.forked"], asyncio.subprocess.PIPE
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path}
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env=env)
        return self

    async def __aexit__(self, *unused: object) -> None:
        self._process.kill()
        await self._process.wait()

    async def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Forked:
        """A new operator, with these arguments and this environment."""
        return Forked(self, await self.ask({"arguments": list(arguments), "env": dict(env), "log": str(log)}))

    async def ask(self, wish: dict[str, Any]) -> int:
        """One wish, and the number that answers it."""
        async with self._turn:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the fork server is gone")
        return int(answer)


class Forked:
    """One operator; like asyncio's own Process, as far as it is used."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.returncode: int | None = None
        self.pid = pid
        self._server = server
        self._handle = os.pidfd_open(pid)
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._handle, self._on_end)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._ended.set()

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        await self._ended.wait()
        if self.returncode is None:
            self.returncode = await self._server.ask({"wait": self.pid})
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if not self._ended.is_set():
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def serve() -> None:
    """Answer wishes until nobody has any more: a new process's number, or the exit code of one that has ended."""
    import kopf  # noqa: F401
    import kubernetes.aio.client  # noqa: F401

    import kaon.controllers.registry
    import kaon.engine.main  # noqa: F401

    for line in sys.stdin:
        wish = json.loads(line)
        if "wait" in wish:
            answer = os.waitstatus_to_exitcode(os.waitpid(wish["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                _become(wish)
        print(answer, flush=True)


def _become(wish: dict[str, Any]) -> None:
    from kaon.engine.main import main

    # No operator outlives its driver: the server ends when the driver does.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((nothing, log, log)):
        os.dup2(source, number)
    os.environ.clear()
    os.environ.update(wish["env"])
    if VARIABLE in os.environ:
        install(Path(os.environ[VARIABLE]))
    main(wish["arguments"])


if __name__ == "__main__":
    serve()
