"""Envoy's configuration for one model: a fixed bootstrap, and three files that are reloaded when the ConfigMap changes.

Pure. Each file carries a version made of its content; what Envoy has accepted shows as `version_text` in its stats. The
cluster of a revision bears the revision's name, so that every counter is told per revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaon.api.modeldeployment import Route
from kaon.api.signature import Signature
from kaon.contract.digest import digest_of, short
from kaon.resources.base import Object
from kaon.resources.router_pressure import (
    BUFFER_BYTES,
    DEFAULT_MEMORY_BYTES,
    connection_bounds,
    overload_manager,
)
from kaon.resources.router_requests import checked, limits, local_replies, request_filter, unchecked
from kaon.resources.serving_ports import (
    DNS_REFRESH_SECONDS,
    ROUTER_ADMIN_PORT,
    ROUTER_METRICS_PORT,
    ROUTER_PORT,
    TRAFFIC_PORT,
)

CONFIG_DIR = "/etc/kaon/router"
READY_PATH = "/-/ready"
"""Answered from the routes themselves: Envoy's own /ready is 200 while bad routes answer 404."""
ROUTES = "model"
PURPOSE_HEADER = "x-kaon-request"
"""Asks TorchServe's handler for what TorchServe has no path for. A client's own is removed."""
LATENCY_BUCKETS_MS = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 600_000)

_TYPE = "type.googleapis.com/envoy"
_HCM = f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = f"{_TYPE}.extensions.filters.http.router.v3.Router"
_BUFFER = "envoy.filters.http.buffer"


@dataclass(frozen=True, slots=True)
class Backend:
    """A revision as the router sees it."""

    revision: str
    server: str
    host: str
    """Name of its headless Service, fully qualified."""
    weight: int
    """Percent of the traffic; 0: known, and sent nothing."""
    max_batch_size: int
    """Texts or rows that one request may hold."""
    signature: Signature
    """What else a request holds."""


def router_files(
    model: str, route: Route, backends: Sequence[Backend], memory: int = DEFAULT_MEMORY_BYTES
) -> dict[str, Object]:
    """File name -> content. The weights of `backends` must sum to 100; `memory` is the container's limit in bytes."""
    return {
        "bootstrap.json": bootstrap(model, route, memory),
        "lds.json": _file(f"{_TYPE}.config.listener.v3.Listener", [_traffic_listener(route), _ops_listener(route)]),
        "cds.json": _file(f"{_TYPE}.config.cluster.v3.Cluster", [_cluster(backend) for backend in backends]),
        "rds.json": _file(f"{_TYPE}.config.route.v3.RouteConfiguration", [_routes(model, route, backends)]),
    }


def bootstrap(model: str, route: Route, memory: int) -> Object:
    """The part that is read once, at start."""
    return {
        "node": {"id": "router", "cluster": model},
        "admin": {"address": _address("127.0.0.1", ROUTER_ADMIN_PORT)},
        "dynamic_resources": {"lds_config": _source("lds.json"), "cds_config": _source("cds.json")},
        "static_resources": {"clusters": [_admin_cluster()]},
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": list(LATENCY_BUCKETS_MS)}]
        },
        "overload_manager": overload_manager(memory, route),
    }


def static_config(model: str, route: Route, backends: Sequence[Backend], memory: int = DEFAULT_MEMORY_BYTES) -> Object:
    """Everything as one bootstrap, for `envoy --mode validate`, which does not read the other files."""
    fixed = bootstrap(model, route, memory)
    listeners = [_traffic_listener(route, _routes(model, route, backends)), _ops_listener(route)]
    clusters = [_admin_cluster(), *(_cluster(backend) for backend in backends)]
    return {**fixed, "dynamic_resources": {}, "static_resources": {"listeners": listeners, "clusters": clusters}}


def _file(kind: str, resources: list[Object]) -> Object:
    typed = [{"@type": kind, **resource} for resource in resources]
    return {"version_info": short(digest_of(typed), 12), "resources": typed}


def _source(name: str) -> Object:
    # Without the watched directory, the swap of a ConfigMap's files is never seen.
    watched = {"path": f"{CONFIG_DIR}/{name}", "watched_directory": {"path": CONFIG_DIR}}
    return {"resource_api_version": "V3", "path_config_source": watched}


def _address(host: str, port: int) -> Object:
    return {"socket_address": {"address": host, "port_value": port}}


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"


def _listener(name: str, port: int, manager: Object) -> Object:
    typed = {"@type": _HCM, "stat_prefix": name, **manager}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": typed}]}
    return {
        "name": name,
        "address": _address("0.0.0.0", port),
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _traffic_listener(route: Route, inline_routes: Object | None = None) -> Object:
    routes: Object = {"rds": {"route_config_name": ROUTES, "config_source": _source("rds.json")}}
    if inline_routes is not None:
        routes = {"route_config": inline_routes}
    return _listener(
        "traffic",
        ROUTER_PORT,
        {
            **routes,
            # Nobody is inside: a caller's x-envoy-* headers (timeouts, retries) are removed.
            "use_remote_address": True,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]},
            # Feedback and logs are joined by this id, so that a caller's own is kept, and it is always told.
            "preserve_external_request_id": True,
            "always_set_request_id_in_response": True,
            **connection_bounds(route),
            "access_log": [_error_log()],
            "http_filters": [
                {
                    "name": _BUFFER,
                    "typed_config": {
                        "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer",
                        "max_request_bytes": Route().max_request_bytes,
                    },
                },
                # After the buffer, so that the limit on the body's size comes first.
                request_filter(),
                {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}},
            ],
            "local_reply_config": local_replies(),
        },
    )


def _error_log() -> Object:
    fields = {
        "time": "%START_TIME%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "revision": "%UPSTREAM_CLUSTER%",
        "milliseconds": "%DURATION%",
        "requestId": "%REQ(X-REQUEST-ID)%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {
            "status_code_filter": {
                "comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "kaon.access_log.status"}}
            }
        },
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


def _ops_listener(route: Route) -> Object:
    """What is scraped and probed: two paths of the admin interface, and no other."""
    readable = [
        {"match": {"path": path, "headers": [_method("GET")]}, "route": {"cluster": "admin"}}
        for path in ("/stats/prometheus", "/ready")
    ]
    host = {"name": "ops", "domains": ["*"], "routes": readable}
    listener = _listener(
        "ops",
        ROUTER_METRICS_PORT,
        {
            **connection_bounds(route),
            "route_config": {"name": "ops", "virtual_hosts": [host]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
        },
    )
    # Under pressure it is probed and scraped all the same.
    return {**listener, "ignore_global_conn_limit": True, "bypass_overload_manager": True}


def _admin_cluster() -> Object:
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _endpoints("admin", "127.0.0.1", ROUTER_ADMIN_PORT),
    }


def _cluster(backend: Backend) -> Object:
    return {
        "name": backend.revision,
        # A headless Service names every ready pod, so that requests, not connections, are balanced, and a pod that
        # fails can be left out. Behind a ClusterIP there would be one host, and nothing to eject.
        "cluster_type": {
            "name": "envoy.clusters.dns",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.clusters.dns.v3.DnsCluster",
                "dns_lookup_family": "V4_ONLY",
                "dns_refresh_rate": _seconds(DNS_REFRESH_SECONDS),
                "respect_dns_ttl": False,
            },
        },
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": _endpoints(backend.revision, backend.host, TRAFFIC_PORT[backend.server]),
        "circuit_breakers": {
            "thresholds": [{"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}]
        },
        "outlier_detection": {
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            # A model that answers 500 to a bad text is no bad host.
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": "5s",
            "base_ejection_time": "15s",
            "max_ejection_percent": 50,
        },
    }


def _endpoints(cluster: str, host: str, port: int) -> Object:
    endpoint = {"endpoint": {"address": _address(host, port)}}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [endpoint]}]}


def _routes(model: str, route: Route, backends: Sequence[Backend]) -> Object:
    main = max(backends, key=lambda backend: backend.weight)
    prefix = f"/v2/models/{model}"
    infer = f"{prefix}/infer"
    body_limit = {
        _BUFFER: {
            "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.BufferPerRoute",
            "buffer": {"max_request_bytes": route.max_request_bytes},
        }
    }
    described = ("/v2/health/ready", f"{prefix}/ready", prefix)
    host: Object = {
        "name": ROUTES,
        "domains": ["*"],
        "typed_per_filter_config": {**body_limit, **unchecked()},
        "routes": [
            _direct(READY_PATH, 200, "ready\n"),
            _infer(infer, route, backends),
            _described(f"{prefix}/ready", f"{prefix}/ready", "ready", main, model),
            _described("/v2/health/ready", f"{prefix}/ready", "ready", main, model),
            _direct("/v2/health/live", 200, ""),
            _described(prefix, prefix, "metadata", main, model),
            _wrong_method(infer, "POST"),
            *(_wrong_method(path, "GET") for path in described),
            {
                "match": {"prefix": "/"},
                "direct_response": {
                    "status": 404,
                    "body": {"inline_string": f"Nothing is at this path. POST an inference request to {infer}."},
                },
            },
        ],
    }
    # A route to a cluster that Envoy does not know is refused, and the last good routes stay.
    return {"name": ROUTES, "validate_clusters": True, "virtual_hosts": [host]}


def _method(name: str) -> Object:
    return {"name": ":method", "string_match": {"exact": name}}


def _direct(path: str, status: int, text: str) -> Object:
    body: Object = {"body": {"inline_string": text}} if text else {}
    return {"match": {"path": path}, "direct_response": {"status": status, **body}}


def _wrong_method(path: str, method: str) -> Object:
    """After the route of the right method."""
    refused = _direct(path, 405, f"This path takes no other method than {method}.")
    return {**refused, "response_headers_to_add": [_set("allow", method)]}


def _infer(path: str, route: Route, backends: Sequence[Backend]) -> Object:
    # TorchServe reads a body of any other type as a form; Triton does not look.
    typed = {"request_headers_to_add": [_set("content-type", "application/json")]}
    # The smallest bound of those that have traffic, so that an answer does not hang on which one is chosen.
    most = min(backend.max_batch_size for backend in backends if backend.weight)
    weighted = [
        {
            "name": backend.revision,
            "weight": backend.weight,
            "typed_per_filter_config": checked(backend.signature, most),
            **(typed if _is_torchserve(backend) else {}),
        }
        for backend in backends
        if backend.weight
    ]
    return {
        "match": {"path": path, "headers": [_method("POST")]},
        "request_headers_to_remove": [PURPOSE_HEADER],
        "metadata": limits(route),
        "route": {
            "weighted_clusters": {"clusters": weighted},
            "timeout": _seconds(route.timeout_seconds),
            "idle_timeout": _seconds(route.timeout_seconds + 60),
            # Only what surely has not reached a model is sent again, and to another pod.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": 2,
                "retry_host_predicate": [
                    {
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {
                            "@type": f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                        },
                    }
                ],
                "host_selection_retry_max_attempts": 3,
            },
        },
    }


def _described(path: str, triton_path: str, purpose: str, main: Backend, model: str) -> Object:
    """Readiness and metadata, from the revision that has the traffic."""
    action: Object = {"cluster": main.revision, "timeout": "5s"}
    target = f"/predictions/{model}" if _is_torchserve(main) else triton_path
    if target != path:
        # `path` is matched whole, so that its prefix is the whole of it.
        action["prefix_rewrite"] = target
    return {
        "match": {"path": path, "headers": [_method("GET")]},
        "request_headers_to_add": [_set(PURPOSE_HEADER, purpose)],
        "route": action,
    }


def _is_torchserve(backend: Backend) -> bool:
    return backend.server == "torchserve"


def _set(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
