"""Which addresses and ports a cluster gets. Pure but for `free_ports`, which asks the kernel.

Full clusters live in 198.18.0.0/15, the range set aside for benchmarks, so they collide with nobody's network. It is
cut into 32 slots; one slot is one cluster:

    198.18.(8s).0/24    link    the host is .1, the node .2 (API server, DNS)
    198.18.(8s+1).0/24  pods
    198.19.(8s).0/21    services
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from dataclasses import dataclass

from localcluster.errors import LocalClusterError

SLOTS = 32
# Below the kernel's ephemeral range: no outgoing connection can take such a port between the choice and the bind.
PORTS = range(21000, 30000)


@dataclass(frozen=True)
class Slot:
    """The addresses of one full cluster."""

    number: int

    @property
    def host_ip(self) -> str:
        return f"198.18.{8 * self.number}.1"

    @property
    def node_ip(self) -> str:
        return f"198.18.{8 * self.number}.2"

    @property
    def pod_cidr(self) -> str:
        return f"198.18.{8 * self.number + 1}.0/24"

    @property
    def service_cidr(self) -> str:
        return f"198.19.{8 * self.number}.0/21"

    @property
    def api_service_ip(self) -> str:
        """The `kubernetes` Service: always the first address of the range."""
        return f"198.19.{8 * self.number}.1"

    @property
    def link(self) -> str:
        """The host's end of the veth pair; interface names end at 15 characters, so it cannot carry the name."""
        return f"kaon{self.number}"


def choose_slot(taken: Collection[int]) -> Slot:
    """The lowest slot that no other cluster has."""
    for number in range(SLOTS):
        if number not in taken:
            return Slot(number)
    raise LocalClusterError(f"all {SLOTS} address slots are taken: run `down` for a cluster that is no longer needed")


def free_ports(count: int, taken: Collection[int]) -> list[int]:
    """Ports on the loopback that nobody listens on and no other cluster has written down."""
    chosen: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(chosen) == count:
            return chosen
        if port in taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        chosen.append(port)
    raise LocalClusterError(f"found no {count} free ports between {PORTS.start} and {PORTS.stop}")
