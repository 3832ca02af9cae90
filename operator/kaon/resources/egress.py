"""What stages, servers and routers may reach: the egress half of their NetworkPolicies.

Sources and stores are named by users, so that a stage asks whatever server its resource names. A cloud's metadata
service, which gives the node's own credentials to every process on it, is what it must never ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import get_args

from kaon.contract.jobspec import Work
from kaon.resources import labels
from kaon.resources.base import Child, Object
from kaon.resources.podpolicy import Egress

STAGE_POLICY = "kaon.stages"
"""With a dot, which no model's name has: its servers' policy is called like the model."""
STAGES = sorted(work.model_fields["stage"].default for work in get_args(get_args(Work)[0]))
"""What the pods of stages are labelled with as their component."""

METADATA = {
    "0.0.0.0/0": [
        "169.254.0.0/16",  # link-local: the metadata services of AWS, Google Cloud, Azure and Oracle
        "168.63.129.16/32",  # Azure's wire server
        "100.100.100.200/32",  # Alibaba Cloud
    ],
    "::/0": [
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS
        "fd20:ce::/32",  # Google Cloud
    ],
}
"""Addresses that are not reached, by the range that they are taken out of."""

_DNS_PORTS = (53, 5353)
"""5353: where the name servers of OpenShift listen behind their Service."""


@lru_cache(maxsize=1024)
def stage_network_policy(namespace: str, egress: Egress | None) -> tuple[Child, ...]:
    """The policy of all stages of a namespace, shared by its resources; none where egress is not bounded."""
    if egress is None:
        return ()
    components = {"key": labels.COMPONENT, "operator": "In", "values": list(STAGES)}
    manifest: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": STAGE_POLICY,
            "namespace": namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGER, labels.COMPONENT: "access"},
        },
        "spec": {
            "podSelector": {"matchLabels": {labels.MANAGED_BY: labels.MANAGER}, "matchExpressions": [components]},
            "policyTypes": ["Egress"],
            "egress": _stage_rules(egress),
        },
    }
    return (Child(manifest, owned=False),)


def server_egress(egress: Egress) -> list[Object]:
    """A server's first container fetches the artifact; the server itself asks for nothing."""
    return [_names(), _stores(egress), *egress.extra_rules]


def router_egress(servers: Object, ports: Sequence[int]) -> list[Object]:
    """A router reaches its servers, selected by the labels `servers`, and their names."""
    return [_names(), {"to": [{"podSelector": {"matchLabels": servers}}], "ports": _tcp(ports)}]


def _stage_rules(egress: Egress) -> list[Object]:
    # Where the API server is cannot be said in a policy: some network plugins take no node for part of any address
    # range. No metadata service listens at its ports.
    return [_names(), {"ports": _tcp(egress.api_server_ports)}, _stores(egress), *egress.extra_rules]


def _names() -> Object:
    # To any address: a cache of names on each node listens at a link-local one.
    return {"ports": [{"port": port, "protocol": protocol} for port in _DNS_PORTS for protocol in ("UDP", "TCP")]}


def _stores(egress: Egress) -> Object:
    # Pods are named beside the addresses: some network plugins take no pod for part of any address range.
    ranges: list[Object] = [{"ipBlock": {"cidr": cidr, "except": left_out}} for cidr, left_out in METADATA.items()]
    return {"to": [{"namespaceSelector": {}}, *ranges], "ports": _tcp(egress.store_ports)}


def _tcp(ports: Sequence[int]) -> list[Object]:
    return [{"port": port, "protocol": "TCP"} for port in ports]
