"""Program: a process that runs beside the simulation, with its log; and how to wait for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HACK = Path(__file__).resolve().parents[1]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Program:
    """A process from `with` to its end; its standard error goes to a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._command, self.log = list(command), log
        path = os.pathsep.join(filter(None, [str(HACK), str(HACK / "localcluster"), os.environ.get("PYTHONPATH")]))
        self._env = {**os.environ, "PYTHONPATH": path, **(env or {})}

    @classmethod
    def python(cls, module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None) -> Program:
        """A module of this environment as a process."""
        return cls([sys.executable, "-m", module, *arguments], log, env)

    def __enter__(self) -> Program:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=errors, env=self._env)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def stop(self) -> None:
        """End it: asked first, then made to."""
        end(self.process)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def expect(self, line: str) -> None:
        """Wait until it prints a line.

        Raises:
            RuntimeError: it ended without.
        """
        assert self.process.stdout is not None
        for printed in self.process.stdout:
            if printed.decode().strip() == line:
                return
        raise RuntimeError(f"{self._command} ended before it was {line!r}:\n{self.tail()}")

    def finish(self, seconds: float) -> None:
        """Wait until it ends well.

        Raises:
            RuntimeError: it failed.
            subprocess.TimeoutExpired: it takes longer.
        """
        code = self.process.wait(seconds)
        if code:
            raise RuntimeError(f"{self._command} ended with {code}:\n{self.tail()}")

    def wait_until(self, so: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until something is so.

        Raises:
            RuntimeError: it ended, or that takes longer.
        """
        deadline = time.monotonic() + seconds
        while not so():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command} is not {what}:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> None:
    """End a process: asked first, then made to. One that was stopped is let go on, to hear it."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(url: str) -> tuple[int, str]:
    """The status and text of a URL on this machine; 0 and the reason when nobody listens."""
    try:
        with _DIRECT.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
