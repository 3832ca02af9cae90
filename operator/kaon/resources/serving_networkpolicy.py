"""The NetworkPolicy of a model's servers: traffic comes from its router alone, scrapes from anywhere.

TorchServe's own authorization is off, and Triton has none: without this, any pod could pass the router by.
"""

from __future__ import annotations

from kaon.resources import labels
from kaon.resources.base import Object
from kaon.resources.pods import child_labels
from kaon.resources.router_deployment import router_selector
from kaon.resources.serving_deployment import COMPONENT
from kaon.resources.serving_ports import METRICS_PORT, TRAFFIC_PORT


def server_network_policy(obj: Object, digest: str) -> Object:
    """For all revisions at once. The kubelet's probes come from the node and are never refused."""
    meta = obj["metadata"]
    traffic, scrapes = (sorted(set(ports.values())) for ports in (TRAFFIC_PORT, METRICS_PORT))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": child_labels(obj, COMPONENT, digest),
        },
        "spec": {
            "podSelector": {"matchLabels": {labels.OWNER_UID: meta["uid"], labels.COMPONENT: COMPONENT}},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": router_selector(obj)}}],
                    "ports": [{"port": port, "protocol": "TCP"} for port in traffic],
                },
                {"ports": [{"port": port, "protocol": "TCP"} for port in scrapes]},
            ],
        },
    }
