"""The PodMonitor of a model: its servers and routers, scraped by the Prometheus operator where the cluster has one."""

from __future__ import annotations

from kaon.resources import labels
from kaon.resources.base import Object
from kaon.resources.pods import child_labels
from kaon.resources.serving_ports import ROUTER_METRICS, SERVER_METRICS


def pod_monitor(obj: Object, digest: str) -> Object:
    """Series bear the pods' labels kaon.dev/owner, kaon.dev/revision and app.kubernetes.io/component."""
    meta = obj["metadata"]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": child_labels(obj, "monitoring", digest),
        },
        "spec": {
            "selector": {"matchLabels": {labels.OWNER_UID: meta["uid"]}},
            "podTargetLabels": [labels.OWNER_NAME, labels.REVISION, labels.COMPONENT],
            # A pod is scraped on the ports that it has.
            "podMetricsEndpoints": [
                {"port": SERVER_METRICS, "path": "/metrics", "interval": "15s"},
                {"port": ROUTER_METRICS, "path": "/stats/prometheus", "interval": "15s"},
            ],
        },
    }
