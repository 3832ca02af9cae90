"""The NetworkPolicies of a model's servers and of its router.

Traffic comes to servers from their router alone, scrapes from anywhere: TorchServe's own authorization is off, and
Triton has none, so that without this any pod could pass the router by. What both may reach is in egress.py.
"""

from __future__ import annotations

from kaon.resources import labels
from kaon.resources.base import Object
from kaon.resources.egress import router_egress, server_egress
from kaon.resources.podpolicy import Egress
from kaon.resources.pods import child_labels
from kaon.resources.router_deployment import COMPONENT as ROUTER
from kaon.resources.router_deployment import router_selector
from kaon.resources.serving_deployment import COMPONENT
from kaon.resources.serving_ports import METRICS_PORT, TRAFFIC_PORT


def server_network_policy(obj: Object, digest: str, egress: Egress | None) -> Object:
    """For all revisions at once. The kubelet's probes come from the node and are never refused."""
    traffic, scrapes = (sorted(set(ports.values())) for ports in (TRAFFIC_PORT, METRICS_PORT))
    ingress = [
        {
            "from": [{"podSelector": {"matchLabels": router_selector(obj)}}],
            "ports": [{"port": port, "protocol": "TCP"} for port in traffic],
        },
        {"ports": [{"port": port, "protocol": "TCP"} for port in scrapes]},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": obj["metadata"]["name"],
            "namespace": obj["metadata"]["namespace"],
            "labels": child_labels(obj, COMPONENT, digest),
        },
        "spec": {
            "podSelector": {"matchLabels": _servers(obj)},
            "policyTypes": ["Ingress"] if egress is None else ["Ingress", "Egress"],
            "ingress": ingress,
            **({} if egress is None else {"egress": server_egress(egress)}),
        },
    }


def router_network_policy(obj: Object, digest: str, egress: Egress | None) -> Object | None:
    """What the router may reach, if that is bounded. Whoever may ask it is not."""
    if egress is None:
        return None
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            # With a dot: another model may have the name of this one's router.
            "name": f"{obj['metadata']['name']}.router",
            "namespace": obj["metadata"]["namespace"],
            "labels": child_labels(obj, ROUTER, digest),
        },
        "spec": {
            "podSelector": {"matchLabels": router_selector(obj)},
            "policyTypes": ["Egress"],
            "egress": router_egress(_servers(obj), sorted(set(TRAFFIC_PORT.values()))),
        },
    }


def _servers(obj: Object) -> dict[str, str]:
    return {labels.OWNER_UID: obj["metadata"]["uid"], labels.COMPONENT: COMPONENT}
