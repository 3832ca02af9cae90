"""A small asynchronous client of an API server: what the simulated parts and the load generators need of one.

Not the operator's own client, so that a defect there is not repeated here.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import orjson
import yaml

Object = dict[str, Any]
JSON = "application/json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
REQUEST_SECONDS = 30.0


class Refused(Exception):
    """An answer of 300 or above. `status` is the HTTP status."""

    def __init__(self, verb: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{verb} {path}: {status} {text}")
        self.status = status


class Client:
    """Requests with the credentials of a kubeconfig. An asynchronous context manager."""

    def __init__(self, kubeconfig: Path, agent: str, connections: int = 32) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        self.server: str = cluster["server"]
        self._agent = agent
        self._connections = connections
        self._tls = _tls(cluster, user) if self.server.startswith("https:") else None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(ssl=self._tls or False, limit=self._connections)
        self._session = aiohttp.ClientSession(
            self.server, connector=connector, headers={"User-Agent": self._agent}, trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(
        self, verb: str, path: str, body: Object | bytes | None = None, media: str = JSON, **query: str
    ) -> Object:
        """One request; the answer parsed. A body of bytes is sent as it is.

        Raises:
            Refused: the server said no.
            aiohttp.ClientError, TimeoutError: there was no answer.
        """
        data = orjson.dumps(body) if isinstance(body, dict) else body
        found: Object = orjson.loads(await self._read(verb, path, data, media, query))
        return found

    async def text(self, path: str) -> str:
        """An answer that is not JSON."""
        return (await self._read("GET", path, None, JSON, {})).decode()

    async def listing(self, path: str, **query: str) -> tuple[list[Object], str]:
        """All objects of a collection, and the version to watch from."""
        items: list[Object] = []
        following: dict[str, Any] = {}
        while True:
            page = await self.request("GET", path, None, JSON, limit="500", **query, **following)
            items += page["items"]
            if not page["metadata"].get("continue"):
                return items, page["metadata"]["resourceVersion"]
            following = {"continue": page["metadata"]["continue"]}

    async def watch(self, path: str, version: str, **query: str) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of every event from a version on, until the server ends the watch."""
        assert self._session is not None
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", **query}
        limit = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=120.0)
        async with self._session.get(path, params=query, timeout=limit) as response:
            if response.status >= 300:
                raise Refused("WATCH", path, response.status, await response.text())
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = orjson.loads(line)
                    yield event["type"], event["object"]

    async def _read(self, verb: str, path: str, data: bytes | None, media: str, query: dict[str, str]) -> bytes:
        assert self._session is not None
        limit = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        headers = {"Content-Type": media}
        async with self._session.request(
            verb, path, data=data, params=query, headers=headers, timeout=limit
        ) as response:
            answer = await response.read()
            if response.status >= 300:
                raise Refused(verb, path, response.status, answer[:500].decode(errors="replace"))
            return answer


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)


def _tls(cluster: Object, user: Object) -> ssl.SSLContext:
    with _file(cluster, "certificate-authority") as authority:
        context = ssl.create_default_context(cafile=authority)
    with _file(user, "client-certificate") as certificate, _file(user, "client-key") as key:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _file(entry: Object, field: str) -> Iterator[str]:
    """The path of a file that a kubeconfig names or holds."""
    if field in entry:
        yield entry[field]
        return
    with tempfile.NamedTemporaryFile() as held:
        held.write(base64.b64decode(entry[f"{field}-data"]))
        held.flush()
        yield held.name
