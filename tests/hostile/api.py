"""The API server as any client may speak to it: bytes of any kind in, answers out, and a view kept by watches."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from hostile.schema import API_VERSION, Object, user_kinds

ROOT = f"/apis/{API_VERSION}"


class Api:
    """An administrator's connection."""

    def __init__(self, server: str, pki: Path) -> None:
        self._server = server
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    async def __aenter__(self) -> Api:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=100)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self, verb: str, path: str, body: bytes | None = None, media: str = "application/json"
    ) -> tuple[int, Object]:
        """The status and the answer; one that is no JSON object becomes its `message`. Status 0: none came."""
        headers = {"Content-Type": media, "Accept": "application/json"}
        limit = aiohttp.ClientTimeout(total=60)
        try:
            request = self._session.request(verb, self._server + path, data=body, headers=headers, timeout=limit)
            async with request as answer:
                data, status = await answer.read(), answer.status
        except aiohttp.ClientConnectionError as error:
            return 0, {"message": f"{type(error).__name__}: {error}"}
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        return status, found if isinstance(found, dict) else {"message": data[:500].decode(errors="replace")}

    async def get(self, path: str) -> Object | None:
        """An object or a collection; None when it is not there."""
        status, found = await self.send("GET", path)
        return found if status == 200 else None

    async def lines(self, path: str) -> Any:
        """The lines of a watch, until the server ends it."""
        limit = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._server + path, timeout=limit, read_bufsize=1 << 24) as answer:
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line


class View:
    """The newest state of every resource of a namespace, and whoever waits for a change of one."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._found: dict[tuple[str, str], Object] = {}
        self._changed: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [asyncio.create_task(self._watch(kind.name, kind.plural)) for kind in user_kinds()]

    async def stop(self) -> None:
        """End the watches; says what ended one before."""
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def until(self, kind: str, name: str, wanted: Any, seconds: float) -> Object | None:
        """The resource as soon as it is as wanted; None when it was not in time."""
        key = (kind, name)
        try:
            async with asyncio.timeout(seconds):
                while not (key in self._found and wanted(self._found[key])):
                    self._changed[key].clear()
                    await self._changed[key].wait()
        except TimeoutError:
            return None
        return self._found[key]

    def forget(self, kind: str, name: str) -> None:
        """It is not looked at any more."""
        self._found.pop((kind, name), None)
        self._changed.pop((kind, name), None)

    async def _watch(self, kind: str, plural: str) -> None:
        version = ""
        while True:
            path = f"{ROOT}/namespaces/{self._namespace}/{plural}?watch=true&allowWatchBookmarks=true"
            async for line in self._api.lines(path + (f"&resourceVersion={version}" if version else "")):
                if not line:
                    continue
                event = json.loads(line)
                obj = event["object"]
                if event["type"] == "ERROR":
                    version = ""
                    break
                version = obj["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    key = (kind, obj["metadata"]["name"])
                    self._found[key] = obj
                    self._changed[key].set()
