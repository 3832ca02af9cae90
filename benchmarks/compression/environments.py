"""A virtual environment for each peer and for the judge, from a lock file: their versions exclude each other.

Touches the cache folder. uv keeps one copy of each package and links it, so that five environments hold one torch.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

HERE = Path(__file__).resolve().parent


class EnvironmentFailed(Exception):
    """The environment could not be made; the message says why."""


def python_of(lock: str, cache: Path) -> Path:
    """The interpreter of the environment of a lock file (`peers/olive.lock`), made at the first call.

    Raises:
        EnvironmentFailed: a package could not be installed.
    """
    file = HERE / lock
    key = hashlib.sha256(file.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / "environments" / f"{file.stem}-{key}"
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        for command in commands(folder, file):
            _run(command)
        ready.touch()
    return interpreter(folder)


def commands(folder: Path, lock: Path) -> list[list[str]]:
    """What makes the environment: an empty one, then the locked packages into it and nowhere else.

    The target is named by its interpreter. `python -m uv` goes by the interpreter that started it, and VIRTUAL_ENV does
    not change its mind: the packages would land in the project's own environment.
    """
    uv = [find_uv_bin()]
    return [
        [*uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(interpreter(folder)), "--require-hashes", "-r", str(lock)],
    ]


def interpreter(folder: Path) -> Path:
    """The Python of an environment."""
    return folder.resolve() / "bin" / "python"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"uv {command[1]} failed: {done.stderr.strip()[-1000:]}")
