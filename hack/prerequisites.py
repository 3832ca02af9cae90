"""Says, before any long work, what this machine lacks for a make target, all at once, with the way out of each.

Root on Debian: installs the Debian packages that are missing. Nothing else is changed.
Standard library only and no recent syntax: it has to run under a Python that is too old, to say so.

python3 hack/prerequisites.py demo | test | test-unit | test-cluster | test-e2e
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GIGA = 10**9
OLDEST_PYTHON = (3, 11)
WANTED_GO = (1, 25)
# Go 1.21 and newer fetch the toolchain that a go.mod asks for, unless they are told not to.
OLDEST_GO = (1, 21)
# A small pure package: that it can be downloaded proves that the package registry is reached.
PROBE_PACKAGE = "iniconfig"

# Program -> the Debian package that has it.
UNIT = {"promtool": "prometheus", "openssl": "openssl"}
CLUSTER = dict(UNIT, git="git", **{"redis-server": "redis-server"})
E2E = dict(UNIT, prometheus="prometheus")


class Needs:
    """What a target needs. `root`: always, never, or for a part of it."""

    def __init__(self, root: str, disk_gb: int, memory_gb: int, programs: dict) -> None:
        self.root = root
        self.disk_gb = disk_gb
        self.memory_gb = memory_gb
        self.programs = programs

    def node(self) -> bool:
        """Whether a real node is started, now and by this user."""
        return self.root == "always" or (self.root == "in part" and os.geteuid() == 0)


TARGETS = {
    "demo": Needs("always", 40, 8, {"openssl": "openssl"}),
    "test": Needs("in part", 40, 8, dict(CLUSTER, **E2E)),
    "test-unit": Needs("never", 10, 4, UNIT),
    "test-cluster": Needs("never", 15, 4, CLUSTER),
    "test-e2e": Needs("always", 40, 8, E2E),
}
LEFT_OUT = (
    "Not root: the end-to-end tests (tests/e2e, on a real Kubernetes node) are left out, all others run. "
    "To run them too, run make test as root: sudo -E make test"
)


def problems(target: str, cold: bool) -> list:
    """A sentence for each thing that is missing; `cold`: nothing has been downloaded yet, so the network is needed."""
    needs, old = TARGETS[target], python(target)
    if old:
        return [old]  # the other checks use what an old Python may lack
    checks = [
        system(),
        root(target) if needs.root == "always" else "",
        go(),
        disk(needs.disk_gb if needs.node() else min(needs.disk_gb, 15)),
        memory(needs.memory_gb if needs.node() else 4),
    ]
    if not any(checks):
        checks.append(packages(needs))
    if cold and not any(checks):
        checks.append(network())
    return [check for check in checks if check]


def system() -> str:
    """Linux with apt-get: the node's containerd, runc and CNI plugins are Debian's."""
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        found = f"{platform.system()} on {platform.machine()}"
        return f"Linux on x86_64 or aarch64 is needed, this is {found}. Use a Debian 12 virtual machine."
    return ""


def root(target: str) -> str:
    """A node makes namespaces, mounts and cgroups."""
    if os.geteuid() != 0:
        return f"Root is needed (a Kubernetes node makes namespaces, mounts and cgroups). Run: sudo -E make {target}"
    return ""


def python(target: str) -> str:
    """The project's own code; that it can make virtual environments is checked with the packages."""
    found = ".".join(str(part) for part in sys.version_info[:2])
    if sys.version_info < OLDEST_PYTHON:
        way_out = f"Run: make {target} PYTHON=/path/to/python3.11"
        return f"Python 3.11 or newer is needed, {sys.executable} is {found}. {way_out}"
    return ""


def go() -> str:
    """Kubernetes, BuildKit, Helm and the other tools are built once from their Go modules."""
    way_out = "Install Go 1.25 from https://go.dev/dl and put its bin folder on PATH."
    if not shutil.which("go"):
        return f"Go is missing: no program go on PATH. {way_out}"
    # The version that is installed, not the one that a go.mod would have it fetch.
    env = dict(os.environ, GOTOOLCHAIN="local")
    said = subprocess.run(["go", "version"], cwd="/", env=env, capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", said)
    found = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if found >= WANTED_GO:
        return ""
    name = match.group(0) if match else "of no known version"
    if found < OLDEST_GO:
        return f"Go 1.25 or newer is needed, {shutil.which('go')} is {name}. {way_out}"
    setting = subprocess.run(["go", "env", "GOTOOLCHAIN"], cwd="/", capture_output=True, text=True, check=False)
    if setting.stdout.strip() == "local":
        way_out = f"Unset GOTOOLCHAIN=local, so that it fetches Go 1.25, or install that. {way_out}"
        return f"Go 1.25 or newer is needed, {shutil.which('go')} is {name}. {way_out}"
    return ""


def cache_folder() -> Path:
    """Where binaries and images are kept."""
    return Path(
        os.environ.get("KAON_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kaon"
    )


def disk(wanted_gb: int) -> str:
    """Binaries, images (one with PyTorch), state; less when a part of it is there already."""
    cache = cache_folder()
    folder = cache
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIGA
    if free < wanted_gb and not any(cache.glob("stores/*")):
        way_out = "Free some, or set KAON_CACHE to a folder on a larger disk."
        return f"{wanted_gb} GB of disk are needed under {cache}, {free:.0f} GB are free. {way_out}"
    return ""


def memory(wanted_gb: int) -> str:
    """Training and the cluster together."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGA
    if there < wanted_gb - 0.5:
        return f"{wanted_gb} GB of memory are needed, there are {there:.1f} GB. Use a larger machine."
    return ""


def packages(needs: Needs) -> str:
    """Debian packages: installed where that is possible, else named in the one command that does it."""
    sys.path.insert(0, str(ROOT / "hack" / "localcluster"))
    from localcluster import host
    from localcluster.errors import LocalClusterError

    missing = missing_packages(needs.programs)
    missing += host.missing_packages(host.NODE_PACKAGES) if needs.node() else []
    missing = sorted(set(missing))
    if not missing:
        return ""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            host.install(missing, lambda line: print(line, flush=True))
        except LocalClusterError as error:
            return str(error)
        left = missing_packages(needs.programs)
        return f"Still missing after apt-get install: {' '.join(left)}. Look at PATH." if left else ""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"Debian packages (or the same programs on PATH) are missing: {sudo}apt-get install -y {' '.join(missing)}"


def missing_packages(programs: dict) -> list:
    """The packages of the programs that are not on PATH, and the one without which no virtual environment is made."""
    missing = {package for program, package in programs.items() if not shutil.which(program)}
    done = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    if done.returncode:
        missing.add(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    return sorted(missing)


def network() -> str:
    """Package registries: Python packages, Go modules, Debian packages. Asked with the pip of a new environment:
    Debian's own Python has none."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], capture_output=True, check=False)
        if made.returncode:
            said = (made.stdout or made.stderr).decode(errors="replace").strip()
            return f"{sys.executable} cannot make virtual environments: {said[-500:]}"
        command = [f"{folder}/venv/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        done = subprocess.run([*command, PROBE_PACKAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return f"The Python package registry is not reached ({last}). Check the network and the proxy settings."
    return ""


def main() -> int:
    """Prints what is missing; 0 when nothing is."""
    if len(sys.argv) != 2 or sys.argv[1] not in TARGETS:
        print(f"usage: {sys.argv[0]} {' | '.join(TARGETS)}", file=sys.stderr)
        return 2
    target = sys.argv[1]
    environment = ROOT / (".venv-demo" if target == "demo" else ".venv")
    found = problems(target, cold=not environment.exists())
    for problem in found:
        print(f"- {problem}", file=sys.stderr)
    if found:
        print(f"make {target} was not started.", file=sys.stderr)
        return 1
    if TARGETS[target].root == "in part" and not TARGETS[target].node():
        print(LEFT_OUT, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
