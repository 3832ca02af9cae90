"""How the router treats a wrong request: the check of inference requests in Lua, and the form of its own answers.

Pure. Every answer of Envoy itself with status 400 or more is {"error": "a sentence"}, as the V2 protocol has it.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from kaon.api.modeldeployment import Route
from kaon.api.signature import Signature
from kaon.resources.base import Object

_FOLDER: Final = resources.files("kaon.resources")
CHECK: Final = "\n".join(
    _FOLDER.joinpath(name).read_text(encoding="utf-8") for name in ("router_json.lua", "router_requests.lua")
)
"""The program of the check. It stands in the listener, and its bounds in the routes: a new bound drains no listener."""

REFUSED_HEADER: Final = "x-kaon-refused"
"""Set by the check on a request that it refuses."""
_REFUSED: Final[Object] = {"header_filter": {"header": {"name": REFUSED_HEADER, "present_match": True}}}
METADATA: Final = "kaon"
_LUA: Final = "envoy.filters.http.lua"
_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.lua.v3"


def request_filter() -> Object:
    """The HTTP filter. It runs on the routes that `checked` marks, and on no other."""
    return {"name": _LUA, "typed_config": {"@type": f"{_TYPE}.Lua", "default_source_code": {"inline_string": CHECK}}}


def unchecked() -> dict[str, Object]:
    """Per-filter configuration of a virtual host: no check, unless a route says so."""
    return {_LUA: {"@type": f"{_TYPE}.LuaPerRoute", "disabled": True}}


def checked(signature: Signature, max_batch_size: int) -> dict[str, Object]:
    """Per-filter configuration of what gets inference requests for a model of this signature."""
    return {_LUA: {"@type": f"{_TYPE}.LuaPerRoute", "filter_context": {"model": asked(signature, max_batch_size)}}}


def asked(signature: Signature, max_batch_size: int) -> Object:
    """What the check is told of a model."""
    varying = {"varies": [tensor.varies for tensor in signature.inputs]} if signature.is_history else {}
    return {
        **varying,
        "maxBatchSize": max_batch_size,
        "isTable": signature.is_table,
        "noun": signature.noun,
        "inputs": [tensor.name for tensor in signature.inputs],
        "datatypes": [tensor.datatype for tensor in signature.inputs],
        "kinds": [tensor.kind for tensor in signature.inputs],
        "outputs": [tensor.name for tensor in signature.outputs],
    }


def limits(route: Route) -> Object:
    """Metadata of a route: figures that the answers of `local_replies` name."""
    return {
        "filter_metadata": {
            METADATA: {"maxRequestBytes": str(route.max_request_bytes), "timeoutSeconds": f"{route.timeout_seconds:g}"}
        }
    }


def local_replies() -> Object:
    """Envoy's own answers. The first mapper that fits makes the body."""
    return {
        "mappers": [
            _reply(
                _status("EQ", 413),
                f"The body is larger than %METADATA(ROUTE:{METADATA}:maxRequestBytes)% bytes, the limit of "
                "spec.route.maxRequestBytes. Send less in one request.",
            ),
            _reply(
                _flags("UT"),
                f"The model did not answer within %METADATA(ROUTE:{METADATA}:timeoutSeconds)% s, the limit of "
                "spec.route.timeoutSeconds. Try again, or raise the limit.",
            ),
            # The timers of headers, of the whole request and of an idle stream end so.
            _reply(_status("EQ", 408), "The request did not arrive in time. Send it at once, without pauses."),
            _reply(_flags("UH"), "No server of the model is ready. Try again later."),
            _reply(_flags("UF", "UC"), "The connection to the model's server failed. Try again."),
            # Out of memory for more requests, for which Envoy sets no flag, or too many of them under way (UO).
            _reply(_status("EQ", 503), "The router takes no more requests at the moment. Try again later."),
            # Envoy's codec calls an unknown transfer encoding 501, and the manager an upgrade 403.
            _reply(
                _status("EQ", 501), "The header Transfer-Encoding is not supported. Send it as chunked, or not.", 400
            ),
            _reply(_status("EQ", 403), "The header Upgrade is not supported. Send a plain HTTP request.", 400),
            _reply(
                {"header_filter": {"header": {"name": REFUSED_HEADER, "present_match": True}}}, "%LOCAL_REPLY_BODY%"
            ),
            _reply(_status("EQ", 400), "The request is not valid HTTP: its path or a header cannot be read."),
            _reply(_status("GE", 400), "%LOCAL_REPLY_BODY%"),
        ]
    }


def _reply(matching: Object, sentence: str, status: int | None = None) -> Object:
    changed = {} if status is None else {"status_code": status}
    return {"filter": matching, **changed, "body_format_override": {"json_format": {"error": sentence}}}


def _status(operator: str, status: int) -> Object:
    value = {"default_value": status, "runtime_key": f"kaon.local_reply.{operator.lower()}_{status}"}
    return {"status_code_filter": {"comparison": {"op": operator, "value": value}}}


def _flags(*flags: str) -> Object:
    return {"response_flag_filter": {"flags": list(flags)}}
