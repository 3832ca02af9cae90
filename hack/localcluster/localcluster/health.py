"""Which components a cluster has, and whether each of them answers. Only asks, never changes anything."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from datetime import datetime

from localcluster import images
from localcluster.api import Api
from localcluster.errors import LocalClusterError
from localcluster.paths import Layout
from localcluster.record import Record


def component_names(record: Record) -> list[str]:
    """Every process that `up` starts for such a cluster."""
    control_plane = ["etcd", "kube-apiserver", "kube-controller-manager"]
    control_plane += ["kube-scheduler"] if record.scheduler else []
    if not record.full:
        return control_plane
    node = ["containerd", "kubelet", "kube-proxy", "coredns", "buildkitd", "volume-recycler"]
    return ["anchor", *control_plane, *node]


def healthy(layout: Layout, record: Record, name: str) -> bool:
    """Does a component that runs also answer?"""
    if name in ("containerd", "buildkitd"):
        return images.answers(layout, name)
    if name in ("kube-proxy", "coredns"):
        path = "healthz" if name == "kube-proxy" else "ready"
        return _http_ok(f"http://{record.bind_ip}:{record.ports[name]}/{path}")
    if name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"):
        server = f"https://{record.bind_ip}:{record.ports[name]}"
        return Api(server, layout.pki).healthy("/readyz" if name == "kube-apiserver" else "/healthz")
    return True  # etcd is part of the API server's own readiness; the others have nothing to ask


def node_ready(api: Api, node: str, since: float = 0) -> bool:
    """Does the node accept pods, by what the kubelet said at or after a point in time?"""
    try:
        found = api.request("GET", f"/api/v1/nodes/{node}")
    except LocalClusterError:
        return False
    return ready_since(found["status"].get("conditions", []), since)


def ready_since(conditions: list[Mapping[str, str]], since: float) -> bool:
    """After a crash the API server still shows the former kubelet's word; only a new one counts."""
    return any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= since
        for condition in conditions
    )


def _http_ok(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
