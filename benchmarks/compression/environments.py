"""A virtual environment for each peer and for the judge, from a lock file: their versions exclude each other.

Touches the cache folder. uv keeps one copy of each package and links it, so that five environments hold one torch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--quiet", "--require-hashes", "-r", str(file), into=folder)
        ready.touch()
    return folder / "bin" / "python"


def _uv(*arguments: str, into: Path | None = None) -> None:
    environment = {**os.environ, **({} if into is None else {"VIRTUAL_ENV": str(into)})}
    command = [sys.executable, "-m", "uv", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentFailed(f"uv {arguments[0]} failed: {done.stderr.strip()[-1000:]}")
