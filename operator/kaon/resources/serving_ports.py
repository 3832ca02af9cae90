"""Ports, paths and times that the servers, the router and the monitoring of a model agree on. Pure data."""

from __future__ import annotations

from typing import Final, Literal

Server = Literal["triton", "torchserve"]

TRAFFIC_PORT: Final[dict[str, int]] = {"triton": 8000, "torchserve": 8080}
METRICS_PORT: Final[dict[str, int]] = {"triton": 8002, "torchserve": 8082}
ROUTER_PORT: Final = 8080
ROUTER_METRICS_PORT: Final = 9902
ROUTER_ADMIN_PORT: Final = 9901
"""Bound to the loopback address only."""

SERVER_METRICS: Final = "server-metrics"
ROUTER_METRICS: Final = "router-metrics"
"""Names of the ports that are scraped; Kubernetes allows 15 characters."""

DNS_REFRESH_SECONDS: Final = 5
SETTLE_SECONDS: Final = 15
"""How long a pod must have been ready before it counts, and how long it serves on after it was told to stop: longer
than a name server's memory of a headless Service (5 s) and the router's refresh together."""


def revision_name(model: str, revision: str) -> str:
    """The name of a revision's Deployment and Service. At most 49 characters."""
    return f"{model}-{revision}"


def router_name(model: str) -> str:
    """The name of the router's Deployment and ConfigMap."""
    return f"{model}-router"
