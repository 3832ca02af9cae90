"""What whoever installed Kaon decided about its pods: limits, where users may place them, what they may reach. Pure.

The defaults here are those of the operator's flags and of the chart's values; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaon.resources.base import Object

ANY = "*"
"""In a list of what is allowed: everything is."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What of a pod template reaches beyond a user's own namespace, and is allowed to users. `*` allows everything."""

    service_accounts: tuple[str, ...] = ()
    """Beside Kaon's own account: names, or `namespace/name` for an account of one namespace."""
    priority_classes: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ("nvidia",)
    tolerations: tuple[str, ...] = ("nvidia.com/gpu", "amd.com/gpu")
    """Keys of taints."""


@dataclass(frozen=True, slots=True)
class Egress:
    """What stages, servers and routers may reach."""

    store_ports: tuple[int, ...] = (80, 443, 7070, 9000)
    """Of artifact stores and sources, inside the cluster and outside: HTTP, HTTPS, the embedded store, MinIO."""
    api_server_ports: tuple[int, ...] = (443, 6443)
    extra_rules: tuple[Object, ...] = ()
    """Egress rules of a NetworkPolicy, as they are, for stages and servers."""

    def __hash__(self) -> int:
        # Rules are dictionaries, which have no hash.
        return hash((self.store_ports, self.api_server_ports, len(self.extra_rules)))


@dataclass(frozen=True, slots=True)
class PodPolicy:
    """All of it. Limits are by resource; what a user sets wins."""

    stage_limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "8Gi", "ephemeral-storage": "50Gi"})
    server_limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "8Gi", "ephemeral-storage": "20Gi"})
    router_limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "1Gi", "ephemeral-storage": "1Gi"})
    placement: Placement = field(default_factory=Placement)
    egress: Egress | None = None
    """None: Kaon makes no policies of egress."""
