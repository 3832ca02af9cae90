"""Where everything lies. Pure: computes paths, creates nothing.

Two roots: the cache keeps what is expensive to make again (binaries, base images, image stores), the state folder
keeps what one running cluster is made of and is removed by `down`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import LocalClusterError

SOURCE = Path(__file__).resolve().parent.parent
"""hack/localcluster itself: the Go modules and tools.toml."""

# The state folder holds Unix sockets, whose paths end at 108 characters; short names keep the longest one legal.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def cache_root(env: Mapping[str, str] = os.environ) -> Path:
    """${KAON_CACHE}, else the user's cache folder."""
    if env.get("KAON_CACHE"):
        return Path(env["KAON_CACHE"]).absolute()
    return Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "kaon"


def state_root(env: Mapping[str, str] = os.environ) -> Path:
    """${KAON_STATE}, else the user's state folder."""
    if env.get("KAON_STATE"):
        return Path(env["KAON_STATE"]).absolute()
    return Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").absolute() / "kaon"


@dataclass(frozen=True)
class Layout:
    """The files of one cluster."""

    name: str
    state: Path
    store: Path

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def run(self) -> Path:
        """Process records and sockets."""
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def audit(self) -> Path:
        """The API server's log of who asked for what; older parts lie beside it."""
        return self.state / "audit" / "audit.log"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def record(self) -> Path:
        """What was decided when the cluster was created: mode, addresses, ports."""
        return self.state / "cluster.json"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def buildkit_socket(self) -> Path:
        return self.run / "buildkitd.sock"

    @property
    def netns(self) -> Path:
        """Seen from inside the cluster's mount namespace: its network namespace, for the CNI plugins."""
        return self.run / "netns"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"


def layout(name: str, env: Mapping[str, str] = os.environ) -> Layout:
    """The files of the cluster of this name; refuses names that cannot be a node, a cgroup and an interface."""
    if not _NAME.fullmatch(name):
        raise LocalClusterError(f"cluster name {name!r}: use up to 32 of a-z, 0-9 and '-'")
    found = Layout(name, state_root(env) / name, cache_root(env) / "stores" / name)
    longest = found.containerd_socket.with_suffix(".sock.ttrpc")
    if len(str(longest)) > 104:
        raise LocalClusterError(f"{longest} is too long for a Unix socket: set KAON_STATE to a shorter folder")
    return found
