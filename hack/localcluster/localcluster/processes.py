"""Starts, finds and ends the processes of one cluster.

A process belongs to a cluster when its environment carries that cluster's marker (children inherit it, containerd's
shims included) or when it sits in the cluster's cgroup (the containers). Never by its name: the same programs may run
on this host for somebody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

MARKER = "KAON_LOCALCLUSTER"
_LOOKS = 20
"""At a process without an environment, a millisecond apart."""


@dataclass(frozen=True)
class Process:
    """A process as it was started; the start time tells it from a later one that got the same pid."""

    pid: int
    started: str
    command: list[str]

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str:
    """When a process started, in kernel ticks since boot; empty when it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def spawn(state: Path, name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
    """Starts a component in the background, its output in logs/NAME.log, and writes down what it is."""
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, env={**env, MARKER: str(state)}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, cwd="/",
        )  # fmt: skip
    _children[child.pid] = child
    process = Process(child.pid, start_time(child.pid), list(command))
    record = state / "run" / f"{name}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(asdict(process)))
    return process


def recorded(state: Path, name: str) -> Process | None:
    """The component as it was last started, alive or not."""
    try:
        return Process(**json.loads((state / "run" / f"{name}.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # never started, or the write was cut short: the marker still finds it


def marked(state: Path) -> set[int]:
    """All processes that carry the cluster's marker."""
    wanted = f"{MARKER}={state}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = _environment(entry)
            except OSError:
                continue  # gone meanwhile, or another user's
            if wanted in environment.split(b"\0"):
                found.add(int(entry.name))
    return found


def _environment(process: Path) -> bytes:
    """What a process was started with. For a moment there is nothing to read, while it starts a program.

    Raises:
        OSError: a thread of the kernel, or a process that has ended meanwhile.
    """
    environment = (process / "environ").read_bytes()
    for _ in range(_LOOKS):
        if environment:
            break
        (process / "exe").readlink()
        time.sleep(0.001)
        environment = (process / "environ").read_bytes()
    return environment


def end(pids: Iterable[int], grace: float = 10.0) -> None:
    """Asks processes to end, waits, and kills what is left."""
    waiting = {pid: start_time(pid) for pid in pids}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in waiting:
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself meanwhile
                os.kill(pid, number)
        deadline = time.monotonic() + grace
        while waiting and time.monotonic() < deadline:
            reap()
            waiting = {pid: started for pid, started in waiting.items() if started and start_time(pid) == started}
            time.sleep(0.05)
        if not waiting:
            return


def reap() -> None:
    """Collects this program's own components that have ended; a long test run would gather zombies otherwise."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


# Kept so that `reap` collects exactly what `spawn` started and no other child of the calling program.
_children: dict[int, subprocess.Popen[bytes]] = {}
