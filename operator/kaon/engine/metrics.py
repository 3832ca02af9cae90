"""The operator's Prometheus metrics. Names are part of the interface: dashboards and alerts use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kaon.controllers.base import Object

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

RECONCILE_SECONDS = Histogram(
    "kaon_reconcile_duration_seconds",
    "Time of one reconcile, API writes included.",
    ["kind", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("kaon_queue_depth", "Resources ready to be reconciled.", registry=REGISTRY)
QUEUE_OLDEST = Gauge(
    "kaon_queue_oldest_seconds", "How long the first of the ready resources has waited.", registry=REGISTRY
)
API_WRITES = Counter("kaon_api_writes", "Writes to the API server.", ["kind", "verb", "code"], registry=REGISTRY)
WATCH_RESTARTS = Counter(
    "kaon_watch_restarts", "Watches that had to list again or broke off.", ["kind"], registry=REGISTRY
)
CACHE_LAG = Histogram(
    "kaon_cache_lag_seconds",
    "From the answer to a write of the operator until the watch of that kind has brought it.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=REGISTRY,
)
UNSEEN = Gauge(
    "kaon_unseen_writes", "Resources with a write of the operator that no watch has brought yet.", registry=REGISTRY
)
STAGE_SECONDS = Histogram(
    "kaon_stage_duration_seconds",
    "Duration of finished stages.",
    ["kind", "outcome"],
    buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400),
    registry=REGISTRY,
)
STAGE_COST = Counter(
    "kaon_stage_cost_seconds", "CPU and GPU seconds of finished stages.", ["kind", "resource"], registry=REGISTRY
)
CACHE_BYTES = Gauge("kaon_cache_bytes", "Bytes of objects that are kept in memory.", registry=REGISTRY)
CACHE_LEFT_OUT = Gauge(
    "kaon_cache_left_out", "Objects that are read when they are needed, for want of room.", registry=REGISTRY
)
CACHE_FULL = Gauge("kaon_cache_full_namespaces", "Namespaces with such objects.", registry=REGISTRY)
POLICY_IN_FORCE = Gauge(
    "kaon_policy_in_force",
    "1 while an admission policy of the chart refuses what it must. No sample for one that was turned off.",
    ["policy"],
    registry=REGISTRY,
)
LEADER = Gauge("kaon_leader", "1 where this process is the leader.", registry=REGISTRY)

_COSTS = {"cpuSeconds": "cpu", "gpuSeconds": "gpu"}


class Resources(Collector):
    """kaon_resources{kind,phase}: counted by the cache, read at each scrape."""

    def __init__(self, phases: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._phases = phases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample a kind and phase that has resources."""
        family = GaugeMetricFamily("kaon_resources", "Resources by kind and phase.", labels=["kind", "phase"])
        for (kind, phase), count in sorted(self._phases().items()):
            if count:
                family.add_metric([kind, phase], count)
        yield family


class WatchUp(Collector):
    """kaon_watch_up{kind}: whether every change of a kind is heard of, read at each scrape."""

    def __init__(self, standing: Callable[[], Mapping[str, bool]]) -> None:
        self._standing = standing

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One sample a kind that is to be watched."""
        family = GaugeMetricFamily("kaon_watch_up", "1 while the watch of a kind is open.", labels=["kind"])
        for kind, watched in sorted(self._standing().items()):
            family.add_metric([kind], float(watched))
        yield family


def observe_stage(kind: str, before: Mapping[str, Any], after: Object) -> None:
    """Count a stage that ended between two statuses of one resource: a completion time that was not there before."""
    ended = after.get("completionTime")
    if not ended or ended == before.get("completionTime"):
        return
    if after.get("startTime"):
        seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(after["startTime"])).total_seconds()
        STAGE_SECONDS.labels(kind, after.get("phase", "")).observe(max(0.0, seconds))
    for field, resource in _COSTS.items():
        STAGE_COST.labels(kind, resource).inc(max(0.0, float(after.get("cost", {}).get(field) or 0)))
