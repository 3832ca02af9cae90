"""The PrometheusRule of a model: its alerts, with bounds that come from the model's own evaluation."""

from __future__ import annotations

from kaon.api.modeldeployment import ModelDeploymentSpec, Revision
from kaon.resources.base import Object
from kaon.resources.monitoring_queries import alerts
from kaon.resources.pods import child_labels

LATENCY_FACTOR = 10
LEAST_LATENCY_MS = 100.0


def prometheus_rule(obj: Object, spec: ModelDeploymentSpec, stable: Revision, digest: str) -> Object | None:
    """The alerts on the revision that has the traffic; None for a model that is scaled to nothing."""
    if spec.replicas == 0:
        return None
    meta = obj["metadata"]
    wanted = alerts(
        meta["namespace"],
        meta["name"],
        revision=stable.revision,
        server=stable.server,
        max_error_ratio=spec.monitoring.alerts.max_error_ratio,
        max_latency_ms=_latency_bound(spec, stable),
        class_shares=spec.monitoring.alerts.class_share,
    )
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.hold,
            "labels": {
                "severity": alert.severity,
                "namespace": meta["namespace"],
                "model": meta["name"],
                **alert.labels,
            },
            "annotations": {"summary": alert.summary, "description": alert.description, "runbook": alert.runbook},
        }
        for alert in wanted
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": child_labels(obj, "monitoring", digest),
        },
        "spec": {"groups": [{"name": f"kaon-{meta['namespace']}-{meta['name']}", "rules": rules}]},
    }


def _latency_bound(spec: ModelDeploymentSpec, stable: Revision) -> float:
    declared = spec.monitoring.alerts.max_latency_ms
    if declared is not None:
        return declared
    return max(LEAST_LATENCY_MS, LATENCY_FACTOR * (stable.latency_p99_ms or 0.0))
