"""The router of a model: the Deployment of Envoy, and the ConfigMap and Service that belong to it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from kaon.api.modeldeployment import ModelDeploymentSpec
from kaon.contract.digest import digest_of, short
from kaon.resources import labels
from kaon.resources.base import Images, Object
from kaon.resources.pods import child_labels, environment, pod_spec, resources_of
from kaon.resources.router_config import CONFIG_DIR, READY_PATH, Backend, bootstrap, router_files
from kaon.resources.router_pressure import WORKERS, memory_of
from kaon.resources.serving_deployment import spread
from kaon.resources.serving_ports import (
    ROUTER_METRICS,
    ROUTER_METRICS_PORT,
    ROUTER_PORT,
    SETTLE_SECONDS,
    router_name,
)

COMPONENT = "router"
STABLE_ANNOTATION = "kaon.dev/stable"
"""The revision that has the traffic: from it the status can be made again when it is lost."""
RETIRING_ANNOTATION = "kaon.dev/retiring"
"""The revision that the traffic was taken from a short while ago, if there is one."""
LISTED_ANNOTATION = "kaon.dev/listed"
"""The revisions that routers are to know, with a space between."""
BOOTSTRAP_ANNOTATION = "kaon.dev/bootstrap"
"""Starts the pods anew when the one file changes that Envoy reads only once."""
DEFAULT_REQUESTS = {"cpu": "100m", "memory": "96Mi"}


def router_selector(obj: Object) -> dict[str, str]:
    """What tells a router's pods from all others."""
    return {labels.OWNER_UID: obj["metadata"]["uid"], labels.COMPONENT: COMPONENT}


def router_replicas(spec: ModelDeploymentSpec) -> int:
    """Two for whoever asks for more than one server: a second server is no use behind a single router."""
    return min(max(spec.replicas, 1), 2)


def router_config_map(
    obj: Object,
    spec: ModelDeploymentSpec,
    backends: Sequence[Backend],
    retiring: str | None,
    digest: str,
    limits: Mapping[str, str],
) -> Object:
    """Envoy's files. Mounted whole: files mounted one by one would never change.

    retiring: the revision that the traffic was taken from a short while ago. limits: those of a pod by default.
    """
    stable = max(backends, key=lambda backend: backend.weight)
    memory = memory_of(resources_of(spec.router, DEFAULT_REQUESTS, limits))
    files = router_files(obj["metadata"]["name"], spec.route, backends, memory)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            **_metadata(obj, digest),
            "annotations": {
                STABLE_ANNOTATION: stable.revision,
                LISTED_ANNOTATION: " ".join(sorted(backend.revision for backend in backends)),
                **({RETIRING_ANNOTATION: retiring} if retiring else {}),
            },
        },
        "data": {name: json.dumps(content, indent=1) for name, content in files.items()},
    }


def router_service(obj: Object, digest: str) -> Object:
    """The Service that bears the model's name; clients know no other."""
    ports = [{"name": "http", "port": 80, "targetPort": ROUTER_PORT, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**_metadata(obj, digest), "name": obj["metadata"]["name"]},
        "spec": {"type": "ClusterIP", "selector": router_selector(obj), "ports": ports},
    }


def router_deployment(
    obj: Object, spec: ModelDeploymentSpec, images: Images, digest: str, limits: Mapping[str, str]
) -> Object:
    """The Deployment of Envoy. Its root is read-only, and nothing else is writable either.

    limits: those of a pod by default.
    """
    model, template = obj["metadata"]["name"], spec.router
    drain = SETTLE_SECONDS + math.ceil(spec.route.timeout_seconds)
    resources = resources_of(template, DEFAULT_REQUESTS, limits)
    container: Object = {
        "name": "envoy",
        "image": images.router,
        "imagePullPolicy": images.pull_policy,
        "args": [
            "--config-path",
            f"{CONFIG_DIR}/bootstrap.json",
            "--disable-hot-restart",
            "--concurrency",
            str(WORKERS),
            "--log-level",
            "warning",
            "--file-flush-interval-msec",
            "1000",
        ],
        "env": environment(template, {}),
        "resources": resources,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "ports": [
            {"name": "http", "containerPort": ROUTER_PORT, "protocol": "TCP"},
            {"name": ROUTER_METRICS, "containerPort": ROUTER_METRICS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": READY_PATH, "port": ROUTER_PORT},
            "periodSeconds": 2,
            "failureThreshold": 2,
        },
        "livenessProbe": {"tcpSocket": {"port": ROUTER_METRICS_PORT}, "periodSeconds": 10, "failureThreshold": 3},
        # SIGTERM alone cuts what is in flight.
        "lifecycle": {"preStop": {"exec": {"command": ["drain", str(drain)]}}},
        "volumeMounts": [{"name": "config", "mountPath": CONFIG_DIR, "readOnly": True}],
    }
    pod = pod_spec(
        template,
        images,
        containers=[container],
        volumes=[{"name": "config", "configMap": {"name": router_name(model)}}],
        service_account=None,
        grace_seconds=drain + 10,
    )
    annotations = {BOOTSTRAP_ANNOTATION: short(digest_of(bootstrap(model, spec.route, memory_of(resources))))}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(obj, digest),
        "spec": {
            "replicas": router_replicas(spec),
            "selector": {"matchLabels": router_selector(obj)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "revisionHistoryLimit": 2,
            "template": {
                "metadata": {"labels": _pod_labels(obj), "annotations": annotations},
                "spec": {**pod, "topologySpreadConstraints": [spread(router_selector(obj))]},
            },
        },
    }


def _metadata(obj: Object, digest: str) -> Object:
    return {
        "name": router_name(obj["metadata"]["name"]),
        "namespace": obj["metadata"]["namespace"],
        "labels": child_labels(obj, COMPONENT, digest),
    }


def _pod_labels(obj: Object) -> dict[str, str]:
    # Without the digest: the router outlives revisions, and a new one must not start it anew.
    found = child_labels(obj, COMPONENT, "")
    del found[labels.DIGEST]
    return found
