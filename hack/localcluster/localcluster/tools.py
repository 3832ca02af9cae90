"""Builds the binaries of tools.toml once and keeps them in the cache.

A binary's folder is named by a key over everything that decides what it is (sources, go.mod, go.sum, build flags,
Go version), so a stale binary is never used and two checkouts can share one cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import paths
from localcluster.errors import LocalClusterError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Module:
    """One Go module under go/ and what is built from it."""

    name: str
    folder: Path
    packages: Mapping[str, str]
    links: Mapping[str, list[str]] = field(default_factory=dict)
    version_of: str = ""
    ldflags: str = ""
    about: str = ""

    @property
    def programs(self) -> list[str]:
        return [*self.packages, *(link for links in self.links.values() for link in links)]

    def flags(self) -> str:
        """The linker flags with the pinned version filled in; symbols are stripped, the files are large enough."""
        if not self.version_of:
            return "-s -w"
        version = required_version((self.folder / "go.mod").read_text(), self.version_of)
        major, minor, *_ = version.split(".")
        return f"-s -w {self.ldflags.format(version=version, major=major, minor=minor)}"


def required_version(go_mod: str, module: str) -> str:
    """The version, without its v, that a go.mod requires of a module."""
    found = re.search(rf"^(?:require )?\s*{re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if not found:
        raise LocalClusterError(f"go.mod does not require {module}")
    return found.group(1)


def modules(source: Path = paths.SOURCE) -> dict[str, Module]:
    """All modules of tools.toml by name."""
    table = tomllib.loads((source / "tools.toml").read_text())
    return {name: Module(name, source / "go" / name, **entry) for name, entry in table.items()}


def module_of(program: str) -> Module:
    """The module that a program (`kubectl`, `helm` …) is built from."""
    for module in modules().values():
        if program in module.programs:
            return module
    known = sorted(program for module in modules().values() for program in module.programs)
    raise LocalClusterError(f"no tool is called {program!r}; there are: {', '.join(known)}")


def build_key(module: Module, go_version: str) -> str:
    """A digest of everything that decides what the binary is."""
    digest = hashlib.sha256(f"{go_version}\n{module.flags()}\n{sorted(module.packages.items())}\n".encode())
    for file in sorted(module.folder.iterdir()):
        if file.name in ("go.mod", "go.sum") or file.suffix == ".go":
            digest.update(f"{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def go_version(folder: Path) -> str:
    """The Go toolchain that would build there (go.mod may ask for another than the installed one)."""
    if not shutil.which("go"):
        raise LocalClusterError("Go is missing: install Go 1.25 or newer (https://go.dev/dl) and put it on PATH")
    result = subprocess.run(["go", "env", "GOVERSION"], cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LocalClusterError(f"go env failed: {result.stderr.strip()}")
    return result.stdout.strip()


def tool(program: str, say: Say = print) -> Path:
    """The path of a program, built first when the cache does not have it."""
    module = module_of(program)
    folder = paths.cache_root() / "bin" / f"{module.name}-{build_key(module, go_version(module.folder))}"
    if not folder.exists():
        with locked(folder.parent / f"{module.name}.lock"):
            if not folder.exists():  # another process may have built it while this one waited
                _build(module, folder, say)
    return folder / program


def _build(module: Module, folder: Path, say: Say) -> None:
    say(f"building {module.name}: {module.about}")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{module.name}-build-") as temporary:
        made = Path(temporary) / "out"
        made.mkdir()
        for output, package in module.packages.items():
            command = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", module.flags()]
            command += ["-o", str(made / output), package]
            # Niced: a build of many minutes must leave the machine usable.
            env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
            result = subprocess.run(["nice", "-n", "10", *command], cwd=module.folder, env=env, check=False,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
            if result.returncode:
                raise LocalClusterError(f"building {module.name} failed:\n{result.stdout.strip()[-4000:]}")
        for output, links in module.links.items():
            for link in links:
                (made / link).symlink_to(output)
        made.rename(folder)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file; the kernel lets go of it when the process dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
