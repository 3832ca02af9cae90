"""What was decided when a cluster was created: mode, addresses, ports. Kept in cluster.json so that a later `up`,
`down` or `status` works on the same cluster, and so that no second cluster is given the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from localcluster.addresses import Slot


@dataclass(frozen=True)
class Record:
    """A control-plane-only cluster has ports on the host's loopback, a full one a slot of addresses."""

    name: str
    slot: int | None
    scheduler: bool
    ports: dict[str, int]
    extra_args: dict[str, list[str]] = field(default_factory=dict)
    audit: bool = False

    @property
    def addresses(self) -> Slot:
        """A control-plane-only cluster has no node; its pod and service ranges are never routed, so any slot does."""
        return Slot(self.slot or 0)

    @property
    def full(self) -> bool:
        return self.slot is not None

    @property
    def bind_ip(self) -> str:
        return self.addresses.node_ip if self.full else "127.0.0.1"

    @property
    def server(self) -> str:
        return f"https://{self.bind_ip}:{self.ports['kube-apiserver']}"

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self), indent=2))
        temporary.rename(file)


def load(file: Path) -> Record | None:
    """The record, or nothing when there is no such cluster."""
    try:
        return Record(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None


def all_records(state_root: Path) -> Iterator[Record]:
    """Every cluster that exists under a state root, running or not."""
    for file in sorted(state_root.glob("*/cluster.json")):
        record = load(file)
        if record:
            yield record
