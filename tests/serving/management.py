"""What of Triton is for whoever runs it, and must be closed in the server itself: a router and a NetworkPolicy may be
passed by."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

CLOSED = (
    ("POST", "/v2/repository/index", "{}"),
    ("POST", "/v2/repository/models/{model}/load", "{}"),
    ("POST", "/v2/repository/models/{model}/unload", "{}"),
    ("POST", "/v2/repository/models/another/load", '{"parameters": {"config": "{}"}}'),
    ("GET", "/v2/trace/setting", None),
    ("POST", "/v2/trace/setting", '{"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}'),
    ("POST", "/v2/models/{model}/trace/setting", '{"trace_level": ["TIMESTAMPS"]}'),
    ("GET", "/v2/logging", None),
    ("POST", "/v2/logging", '{"log_verbose_level": 1}'),
    ("GET", "/v2/systemsharedmemory/status", None),
    ("POST", "/v2/systemsharedmemory/region/x/register", '{"key": "/x", "offset": 0, "byte_size": 8}'),
    ("POST", "/v2/systemsharedmemory/unregister", ""),
    ("GET", "/v2/cudasharedmemory/status", None),
    ("POST", "/v2/cudasharedmemory/region/x/register", '{"raw_handle": {"b64": ""}, "device_id": 0, "byte_size": 8}'),
    ("GET", "/v2/models/{model}/config", None),
    ("GET", "/v2/models/{model}/stats", None),
)
HEADER = "kaon-management"


def left_open(host: str, port: int, model: str) -> Iterator[str]:
    """What answers with anything but 403: without the header, and with values that somebody might guess."""
    for method, path, body in CLOSED:
        for headers in ({}, {HEADER: ""}, {HEADER: "kaon-management"}, {HEADER: "$nobody"}):
            connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request(method, path.replace("{model}", model), body, headers)
            answer = connection.getresponse()
            said = answer.read()
            connection.close()
            if answer.status != 403:
                yield f"{method} {path} {headers}: {answer.status} {said[:200]!r}"
