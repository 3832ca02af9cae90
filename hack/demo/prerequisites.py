"""Says, before any long work, what this machine lacks for the demo, all at once, with the way out of each.

Standard library only and no recent syntax: it has to run under a Python that is too old, to say so. Changes nothing.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GIGA = 10**9
FREE_DISK_GB = 40
MEMORY_GB = 8
OLDEST_PYTHON = (3, 11)
# Go 1.21 and newer fetch the toolchain that a go.mod asks for.
OLDEST_GO = (1, 21)
# A small pure package: that it can be downloaded proves that the package registry is reached.
PROBE_PACKAGE = "iniconfig"


def problems(cold: bool) -> list:
    """A sentence for each thing that is missing; `cold`: nothing has been downloaded yet, so the network is needed."""
    checks = [system(), root(), python(), go(), disk(), memory()]
    if cold and not any(checks):
        checks.append(network())
    return [check for check in checks if check]


def system() -> str:
    """Linux with apt-get: the node's containerd, runc and CNI plugins are Debian's."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        found = f"{platform.system()} on {platform.machine()}"
        return f"Linux on x86_64 or aarch64 is needed, this is {found}. Use a Debian 12 virtual machine."
    return ""


def root() -> str:
    """A node makes namespaces, mounts and cgroups."""
    if os.geteuid() != 0:
        return "Root is needed (a Kubernetes node makes namespaces, mounts and cgroups). Run: sudo -E make demo"
    return ""


def python() -> str:
    """The project's own code."""
    found = ".".join(str(part) for part in sys.version_info[:2])
    if sys.version_info < OLDEST_PYTHON:
        return f"Python 3.11 or newer is needed, {sys.executable} is {found}. Run: make demo PYTHON=/path/to/python3.11"
    done = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    if done.returncode:
        return f"{sys.executable} cannot make virtual environments. Run: apt-get install python{found}-venv"
    return ""


def go() -> str:
    """Kubernetes, containerd's builder and Helm are built once from their Go modules."""
    way_out = "Install Go 1.25 from https://go.dev/dl and put its bin folder on PATH."
    if not shutil.which("go"):
        return f"Go is missing. {way_out}"
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", said)
    if not match or (int(match.group(1)), int(match.group(2))) < OLDEST_GO:
        return f"Go 1.25 (or 1.21 and newer, which fetches it) is needed, there is: {said.strip() or 'none'}. {way_out}"
    return ""


def disk() -> str:
    """Binaries, images (one with PyTorch), state; less when a part of it is there already."""
    cache = Path(
        os.environ.get("KAON_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaon"
    )
    folder = cache
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIGA
    if free < FREE_DISK_GB and not any(cache.glob("stores/*")):
        way_out = "Free some, or set KAON_CACHE to a folder on a larger disk."
        return f"{FREE_DISK_GB} GB of disk are needed under {cache}, {free:.0f} GB are free. {way_out}"
    return ""


def memory() -> str:
    """Training and the cluster together."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGA
    if there < MEMORY_GB - 0.5:
        return f"{MEMORY_GB} GB of memory are needed, there are {there:.1f} GB. Use a larger machine."
    return ""


def network() -> str:
    """Package registries: Python packages, Go modules, Debian packages."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PROBE_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return f"The Python package registry is not reached ({last}). Check the network and the proxy settings."
    return ""


def main() -> int:
    """Prints what is missing; 0 when nothing is."""
    cold = not (Path(__file__).resolve().parents[2] / ".venv-demo").exists()
    found = problems(cold)
    for problem in found:
        print(f"- {problem}", file=sys.stderr)
    if found:
        print("The demo was not started: nothing has been changed on this machine.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
