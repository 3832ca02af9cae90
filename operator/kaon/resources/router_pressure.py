"""How the router holds under pressure: what it may take of memory, connections, streams and time. Pure.

The figures follow Envoy's advice for a proxy at the edge. Some depend on the container's memory limit and the largest
body: another one is another bootstrap, for which the pods are replaced one by one.
"""

from __future__ import annotations

from typing import Final

from kaon.api.modeldeployment import Route
from kaon.api.quantity import amount
from kaon.resources.base import Object

MIB: Final = 2**20
DEFAULT_MEMORY_BYTES: Final = 1024 * MIB
"""The router's memory where no limit is set."""
WORKERS: Final = 2
BUFFER_BYTES: Final = 32_768
"""What a connection may buffer of what the other side has not taken yet. A body that is collected has its own limit."""
MAX_CONNECTIONS: Final = 20_000
LEAST_CONNECTIONS: Final = 32
"""Enough for the probe and some clients, also where the memory is too small for the bodies of so many."""
SHARE_OF_BODIES: Final = 0.75
"""Of the heap, for the bodies of all connections together: below where requests are refused, with what comes beside."""
LEAST_SHARE_BYTES: Final = 128 * 1024
"""What a connection is reckoned with where bodies are small."""
CODE_BYTES: Final = 48 * MIB
"""What an Envoy without traffic has in memory beside its heap."""
LEAST_HEAP_BYTES: Final = 64 * MIB
"""Several times what an Envoy without traffic takes: less would refuse every request."""
ARRIVAL_SECONDS: Final = 10
SLOWEST_BYTES_PER_SECOND: Final = MIB
"""A body has ten seconds, and one for each MiB that it may have."""

_TYPE: Final = "type.googleapis.com/envoy"
_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"


def memory_of(resources: Object) -> int:
    """The memory limit of a container with these resources, in bytes."""
    limit = resources.get("limits", {}).get("memory")
    return DEFAULT_MEMORY_BYTES if limit is None else int(amount(limit))


def heap_bytes(memory: int, route: Route) -> int:
    """What Envoy's heap may take of a container's memory.

    The rest is for code and stacks, for what comes between two looks at the heap, and for the check of requests: each
    worker has one body in Lua's own memory.
    """
    large = max(route.max_request_bytes - MIB, 0)
    return max(int(memory * 0.85) - CODE_BYTES - WORKERS * large, LEAST_HEAP_BYTES)


def max_connections(memory: int, route: Route) -> int:
    """Connections of clients at a time: so many that each may hold a body of the largest size.

    Envoy resets no HTTP/1 request for its memory. With more, those who never end a body would have the others refused.
    """
    room = int(heap_bytes(memory, route) * SHARE_OF_BODIES)
    fitting = room // max(route.max_request_bytes, LEAST_SHARE_BYTES)
    return min(max(fitting, LEAST_CONNECTIONS), MAX_CONNECTIONS)


def arrival_seconds(route: Route) -> int:
    """How long a request may take to arrive."""
    return ARRIVAL_SECONDS + max(route.max_request_bytes // SLOWEST_BYTES_PER_SECOND, 1)


def overload_manager(memory: int, route: Route) -> Object:
    """Before the memory ends, the streams that hold most of it are reset; then new requests are refused."""
    connections = {
        "@type": f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": max_connections(memory, route),
    }
    heap = {
        "@type": f"{_TYPE}.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        "max_heap_size_bytes": heap_bytes(memory, route),
    }
    return {
        "refresh_interval": "0.25s",
        # Streams are told apart by what they hold: from 64 KiB on, at each power of two.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 16},
        "resource_monitors": [
            {"name": _HEAP, "typed_config": heap},
            {"name": _CONNECTIONS, "typed_config": connections},
        ],
        "actions": [
            _action("shrink_heap", {"threshold": {"value": 0.9}}),
            _action("reduce_timeouts", {"scaled": {"scaling_threshold": 0.85, "saturation_threshold": 0.95}}, _TIMERS),
            # HTTP/2 alone: Envoy tells only its streams apart.
            _action("reset_high_memory_stream", {"scaled": {"scaling_threshold": 0.8, "saturation_threshold": 0.95}}),
            _action("stop_accepting_requests", {"threshold": {"value": 0.95}}),
        ],
    }


_TIMERS: Final[Object] = {
    "@type": f"{_TYPE}.config.overload.v3.ScaleTimersOverloadActionConfig",
    "timer_scale_factors": [{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"}],
}


def _action(name: str, trigger: Object, typed: Object | None = None) -> Object:
    return {
        "name": f"envoy.overload_actions.{name}",
        "triggers": [{"name": _HEAP, **trigger}],
        **({"typed_config": typed} if typed else {}),
    }


def connection_bounds(route: Route) -> Object:
    """The part of an HTTP listener that bounds connections, headers, streams and the time until a request is there."""
    return {
        "request_headers_timeout": "10s",
        "request_timeout": f"{arrival_seconds(route)}s",
        "stream_idle_timeout": "60s",
        "common_http_protocol_options": {
            "idle_timeout": "900s",
            "max_headers_count": 100,
            # A server might take X_A for X-A, of which the router has removed its own.
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": MIB,
        },
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
    }
