"""The headless Service of one revision: the names under which the router finds its ready pods."""

from __future__ import annotations

from kaon.api.modeldeployment import Revision
from kaon.resources.base import Object
from kaon.resources.serving_deployment import server_labels, server_selector
from kaon.resources.serving_ports import TRAFFIC_PORT, revision_name


def server_service(obj: Object, revision: Revision) -> Object:
    """Headless, so that the router sees each pod and not one address in front of them."""
    port = TRAFFIC_PORT[revision.server]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": revision_name(obj["metadata"]["name"], revision.revision),
            "namespace": obj["metadata"]["namespace"],
            "labels": server_labels(obj, revision),
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": server_selector(obj, revision),
            "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }


def server_host(obj: Object, revision: Revision, cluster_domain: str) -> str:
    """The Service's full name; the dot at its end spares the resolver its search list."""
    name = revision_name(obj["metadata"]["name"], revision.revision)
    return f"{name}.{obj['metadata']['namespace']}.svc.{cluster_domain}."
