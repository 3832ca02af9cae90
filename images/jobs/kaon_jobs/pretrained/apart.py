"""Tries what a user's files describe in a process apart, whose time and memory are bounded. Forks.

A configuration can describe a model that takes hours to build, a tokenizer's pattern can take hours for one text, and
code in Rust ends the process where it finds no memory. None of that can be caught where it happens.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from kaon_jobs.machine import memory_limit, memory_mapped, memory_used

_OUT_OF_MEMORY, _TOO_MUCH = 3, 4
_LIMIT_MARK = "\1"
_WAIT_FACTOR = 5
"""Seconds to wait for each second of processor time: other pods use the machine too."""
_MEMORY_SHARE = 0.6
"""Of what the pod has left. The process that tries has the memory of the one that waits, once, and its own."""

Say = Callable[[str], None]
"""Tells which part is tried from now on."""


class TooMuch(Exception):
    """What is tried has taken more than a limit of its own, which the message says."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What was tried has taken more than it may."""

    part: str
    """What was said last."""
    what: str
    """The limit, as it stands in a sentence behind "takes"."""


def tried(work: Callable[[Say], None], seconds: int) -> Stopped | None:
    """Runs `work` in a process apart, and says how it was stopped; None when it ended by itself, by an error too.

    Args:
        seconds: of processor time.
    """
    memory = int(_MEMORY_SHARE * max(0, memory_limit() - memory_used()))
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(work, writer, seconds, memory)
    os.close(writer)
    try:
        part, status = _wait(child, reader, seconds)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(reader)
    part, _, limit = part.partition(_LIMIT_MARK)
    if limit:
        return Stopped(part, limit)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != _OUT_OF_MEMORY:
        return None
    late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL, signal.SIGALRM)
    what = (
        f"more than {seconds:,} s of processor time"
        if late
        else f"more than {memory:,} bytes of memory, or ends its process"
    )
    return Stopped(part, what)


def _run(work: Callable[[Say], None], writer: int, seconds: int, memory: int) -> NoReturn:
    code, part = 0, ""

    def say(what: str) -> None:
        nonlocal part
        part = what.replace("\n", " ")[:400]
        os.write(writer, f"{part}\n".encode())

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Its own end is no event that is told to anybody: no core dump, no traceback.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        bound = memory_mapped() + memory
        resource.setrlimit(resource.RLIMIT_DATA, (bound if hard < 0 else min(bound, hard), hard))
        work(say)
    except MemoryError:
        code = _OUT_OF_MEMORY
    except TooMuch as limit:
        code = _TOO_MUCH
        say(f"{part}{_LIMIT_MARK}{limit}")
    except BaseException:
        # The stage does the same once more, and tells of it.
        code = 0
    finally:
        os._exit(code)


def _wait(child: int, reader: int, seconds: int) -> tuple[str, int]:
    """The last part that was said, and how the process ended."""
    deadline = time.monotonic() + _WAIT_FACTOR * seconds
    said = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(reader, 65536) if ready else b""
        said = (said + chunk)[-65536:]
        if not chunk:
            break
    if time.monotonic() >= deadline:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return said.decode(errors="replace").rstrip("\n").rsplit("\n", 1)[-1], status
