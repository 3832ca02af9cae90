"""Checks, before any long work, that this host can run what is asked for; installs the Debian packages that a node
needs. The only module that changes the host outside the cache and state folders, and only by apt-get."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from localcluster import paths
from localcluster.errors import LocalClusterError

# Debian package -> a file that proves it is there, wherever it came from.
NODE_PACKAGES = {
    "containerd": ["containerd"],
    "runc": ["runc"],
    "containernetworking-plugins": ["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"],
    "conntrack": ["conntrack"],
    "nftables": ["nft"],
    "iptables": ["iptables"],
    "iproute2": ["ip"],
    "kmod": ["modprobe"],
    "mount": ["mount"],
    "util-linux": ["nsenter"],
    "procps": ["sysctl"],
    "debootstrap": ["debootstrap"],
    "openssl": ["openssl"],
}
CONTROL_PLANE_PACKAGES = {"openssl": ["openssl"]}
FREE_GB = {"control-plane-only": 2, "full": 10}


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with the clusters' addresses excepted from the host's proxy, which knows nothing of them."""
    excepted = ",".join(filter(None, [env.get("NO_PROXY") or env.get("no_proxy"), "127.0.0.1,localhost,198.18.0.0/15"]))
    return {**env, "NO_PROXY": excepted, "no_proxy": excepted}


def missing_packages(wanted: dict[str, list[str]]) -> list[str]:
    """Debian packages none of whose proofs is on this host."""

    def present(proof: str) -> bool:
        return Path(proof).exists() if proof.startswith("/") else shutil.which(proof) is not None

    return [package for package, proofs in wanted.items() if not any(present(proof) for proof in proofs)]


def check(full: bool, say: Callable[[str], None]) -> None:
    """Says everything that is missing at once, rather than one thing after each ten-minute attempt."""
    wrong: list[str] = []
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        wrong.append(f"needs Linux on x86_64 or aarch64, this is {platform.system()} on {platform.machine()}")
    if full and os.geteuid() != 0:
        wrong.append("a full cluster needs root (namespaces, mounts, cgroups): use sudo -E, or --control-plane-only")
    if not shutil.which("go"):
        wrong.append("Go 1.25 or newer is missing (https://go.dev/dl); it builds the cluster's binaries once")
    for folder in {paths.cache_root(), paths.state_root()}:
        free = shutil.disk_usage(_existing(folder)).free / 1e9
        wanted = FREE_GB["full" if full else "control-plane-only"]
        if free < wanted:
            wrong.append(f"{folder} has {free:.1f} GB free, {wanted} GB are needed")
    missing = missing_packages(NODE_PACKAGES if full else CONTROL_PLANE_PACKAGES)
    installable = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if missing and not installable:
        wrong.append(f"missing Debian packages (or their like): {' '.join(missing)}")
    if wrong:
        raise LocalClusterError("this host cannot run the cluster:\n  - " + "\n  - ".join(wrong))
    if missing:
        install(missing, say)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def install(packages: list[str], say: Callable[[str], None]) -> None:
    """Installs Debian packages; none of their services is started."""
    say(f"installing Debian packages: {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # No service may start: a containerd of the host's own is none of this program's business.
    policy = Path("/usr/sbin/policy-rc.d")
    guarded = not policy.exists()
    if guarded:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
            result = subprocess.run(["apt-get", *command], env=env, capture_output=True, text=True, check=False)
            if result.returncode:
                raise LocalClusterError(f"apt-get {command[0]} failed:\n{result.stdout[-1500:]}{result.stderr[-1500:]}")
    finally:
        if guarded:
            policy.unlink()
