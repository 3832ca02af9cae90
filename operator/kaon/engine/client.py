"""The one way to the API server: kubernetes.aio's configuration and connections, JSON in and out, errors as ApiError.

Every answer's status is looked at here, because `ApiClient.call_api` raises nothing. Writes pass a fence, so that a
process that is no longer the leader changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio import client as kube
from kubernetes.aio import config as kube_config

from kaon.controllers.base import Object
from kaon.engine import metrics
from kaon.resources.labels import FIELD_MANAGER

KUBE_CONFIG = str(Path("~/.kube/config").expanduser())
REQUEST_SECONDS = 30.0
SILENCE_SECONDS = 90.0
"""A watch that says nothing for this long is dead: the server sends a bookmark about once a minute."""
APPLY = "application/apply-patch+yaml"
JSON = "application/json"
_REFUSALS = frozenset({400, 403, 413, 422})
_FENCED: ContextVar[str] = ContextVar("fenced", default="")
"""The write that the running task is about to send, where the fence holds for it."""


class ApiError(Exception):
    """The API server said no, or nothing. `status` 0: it was not reached."""

    def __init__(
        self, verb: str, path: str, status: int, body: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        self.verb, self.path, self.status, self.retry_after = verb, path, status, retry_after
        self.reason = str(body.get("reason") or "")
        self.message = str(body.get("message") or "")
        causes = (body.get("details") or {}).get("causes") or []
        self.causes = frozenset(str(cause.get("reason", "")) for cause in causes)
        super().__init__(f"{verb} {path}: {status} {self.reason} {self.message}")

    @property
    def namespace_ends(self) -> bool:
        """Whether the namespace is being deleted, so that there is nothing left to do in it."""
        return "NamespaceTerminating" in self.causes or (self.status == 404 and 'namespaces "' in self.message)

    @property
    def doubtful(self) -> bool:
        """Whether a write that was answered so may have taken effect all the same."""
        return self.status == 0 or self.status >= 500

    @property
    def refusal(self) -> bool:
        """Whether the API server understood what was written and will not have it."""
        return self.status in _REFUSALS and not self.namespace_ends


class AnswerTooLargeError(Exception):
    """An answer has more bytes than were asked for at most."""


class WriteRefusedError(Exception):
    """This process may not write: it is not, or no longer, the leader."""


class Client:
    """Requests to one API server."""

    def __init__(self, configuration: Any) -> None:
        self.configuration = configuration
        configuration.trace_configs = [self._fence()]
        self._api: Any = kube.ApiClient(configuration)
        self._api.user_agent = "kaon-operator"
        self.may_write: Callable[[], bool] = lambda: True

    @classmethod
    async def connect(cls) -> Client:
        """A client from the pod's service account, or from KUBECONFIG or ~/.kube/config outside a cluster.

        Raises:
            kubernetes.aio.config.ConfigException: there is neither.
        """
        configuration: Any = kube.Configuration()
        # A proxy meant for the internet must not catch the way to the cluster; a kubeconfig's proxy-url still counts.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.proxy = None
        loader: Any = kube_config
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            loader.load_incluster_config(client_configuration=configuration)
        else:
            path = os.environ.get("KUBECONFIG") or KUBE_CONFIG
            await loader.load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
        return cls(configuration)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def authorization(self) -> str | None:
        """The present Authorization header: tokens are renewed on disk while the process runs."""
        settings = await self.configuration.auth_settings()
        value = settings.get("BearerToken", {}).get("value")
        return str(value) if value else None

    async def get(self, path: str, **query: Any) -> Object:
        """Read an object or a collection."""
        return await self._request("GET", path, query)

    async def page(self, path: str, most_bytes: int | None, **query: Any) -> tuple[Object, int]:
        """Read a part of a collection: it, and its size in bytes.

        Raises:
            AnswerTooLargeError: it has more than `most_bytes`. The rest was not read.
        """
        size = 0

        def count(more: int) -> None:
            nonlocal size
            size += more
            if most_bytes is not None and size > most_bytes:
                raise AnswerTooLargeError

        return await self._request("GET", path, query, count=count), size

    async def create(self, path: str, manifest: Object) -> Object:
        """Create an object in the collection `path`."""
        return await self._write("POST", path, {"fieldManager": FIELD_MANAGER}, manifest, JSON)

    async def try_create(self, path: str, manifest: Object) -> Object:
        """Whether an object could be created in the collection `path`: nothing is stored."""
        return await self._request("POST", path, {"dryRun": "All"}, manifest)

    async def apply(self, path: str, manifest: Object) -> Object:
        """Server-side apply, taking over fields that another manager holds."""
        return await self._write("PATCH", path, {"fieldManager": FIELD_MANAGER, "force": "true"}, manifest, APPLY)

    async def replace(self, path: str, manifest: Object) -> Object:
        """Replace the object with the resource version that `manifest` names, or its subresource."""
        return await self._write("PUT", path, {"fieldManager": FIELD_MANAGER}, manifest, JSON)

    async def delete(self, path: str, uid: str) -> Object:
        """Delete the object with that UID and no other; what it owns is collected in the background."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        return await self._write("DELETE", path, {}, options, JSON)

    async def send(self, verb: str, path: str, body: Object, seconds: float) -> Object:
        """A write that no fence holds back: the lease's own."""
        return await self._request(verb, path, {}, body, JSON, seconds)

    async def _write(self, verb: str, path: str, query: Mapping[str, Any], body: Object, media: str) -> Object:
        kind, token = path_kind(path), _FENCED.set(f"{verb} {path}")
        try:
            found = await self._request(verb, path, query, body, media)
        except ApiError as error:
            metrics.API_WRITES.labels(kind, verb, error.status).inc()
            raise
        finally:
            _FENCED.reset(token)
        metrics.API_WRITES.labels(kind, verb, 200).inc()
        return found

    def _fence(self) -> aiohttp.TraceConfig:
        """Looks when a write begins, and when it has its connection: a process may be stopped for long in between."""

        async def look(*unused: object) -> None:
            write = _FENCED.get()
            if write and not self.may_write():
                raise WriteRefusedError(f"{write}: this process is not the leader")

        fence = aiohttp.TraceConfig()
        fence.on_request_start.append(look)
        fence.on_connection_create_end.append(look)
        fence.on_connection_reuseconn.append(look)
        return fence

    async def _request(
        self,
        verb: str,
        path: str,
        query: Mapping[str, Any],
        body: Object | None = None,
        media: str = JSON,
        seconds: float = REQUEST_SECONDS,
        count: Callable[[int], None] = lambda more: None,
    ) -> Object:
        """The answer to a request. `count` is told of its bytes as they come, and may raise what ends it."""
        try:
            response = await self._send(verb, path, query, body, media, aiohttp.ClientTimeout(total=seconds))
            try:
                chunks = []
                async for chunk in response.content.iter_any():
                    count(len(chunk))
                    chunks.append(chunk)
                data = b"".join(chunks)
            finally:
                response.release()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(verb, path, 0, {"message": f"{type(error).__name__}: {error}"}) from error
        found = _parse(data)
        if response.status >= 300:
            raise _error(verb, path, response, found)
        return found

    async def stream(self, path: str, opened: Callable[[], None] = lambda: None, **query: Any) -> AsyncIterator[Object]:
        """The events of a watch, until the server ends it. `opened` is called when the server has begun it.

        Raises:
            ApiError: the watch was refused, broken off, or fell silent.
        """
        limit = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS)
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._send("GET", path, {"watch": "true", **query}, None, JSON, limit)
            if response.status >= 300:
                raise _error("WATCH", path, response, _parse(await response.read()))
            opened()
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield loads(line)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError("WATCH", path, 0, {"message": f"{type(error).__name__}: {error}"}) from error
        finally:
            if response is not None:
                response.close()

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, Any],
        body: Object | None,
        media: str,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": JSON, "Content-Type": media, "User-Agent": "kaon-operator"}
        token = await self.authorization()
        if token:
            headers["authorization"] = token
        url = f"{self.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = await self._api.call_api(verb, url, headers, body, _request_timeout=limit)
        response: aiohttp.ClientResponse = answer.response
        return response


def path_kind(path: str) -> str:
    """The collection (and subresource) that a path is about, as metrics name it: jobs, datasets/status."""
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    return "/".join([rest[0], *rest[2:3]]) if rest else path


def loads(data: bytes) -> Any:
    """JSON of any depth that the API server lets in: 10,000 levels, where orjson stops at 1,024.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def _parse(data: bytes) -> Object:
    try:
        found = loads(data)
    except ValueError:
        return {"message": data[:500].decode(errors="replace")}
    return found if isinstance(found, dict) else {"message": str(found)[:500]}


def _error(verb: str, path: str, response: aiohttp.ClientResponse, body: Object) -> ApiError:
    after = response.headers.get("Retry-After", "")
    return ApiError(verb, path, response.status, body, float(after) if after.isdigit() else None)
