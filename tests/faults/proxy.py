"""A proxy on the loopback between one operator and the API server: passes everything on, and lets a plan go wrong.

The operator speaks plain HTTP to it, it speaks TLS with the administrator's certificate to the API server. Everything
is recorded, so that a run that failed can be read afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from .plans import FAULTS, HANG_SECONDS, LAG_SECONDS, RETRY_AFTER_SECONDS, Injection, Plan, Sort

PASSED_ON = ("Accept", "Content-Type", "User-Agent")
REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
DROPPED = "dropped"
LINE_LIMIT = 2**24


@dataclass(slots=True)
class Exchange:
    """One request, or one event of a watch, as the operator saw it end."""

    seconds: float
    """When it came, since the proxy's start."""
    sort: Sort
    number: int
    verb: str
    path: str
    agent: str
    outcome: str = ""
    fault: str = ""

    def __str__(self) -> str:
        fault = f"  <== {self.fault}" if self.fault else ""
        return (
            f"{self.seconds:8.3f}  {self.sort:5} {self.number:4}  {self.verb:8} {self.path}  {self.outcome}"
            f"  {self.agent}{fault}"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    def response(self) -> web.Response:
        """To be passed on."""
        return web.Response(status=self.status, body=self.body, headers=self.headers)


class Proxy:
    """One operator's way to the API server."""

    def __init__(
        self, server: str, pki: Path, plan: Plan | None = None, kill: Callable[[], None] | None = None
    ) -> None:
        """kill: ends the operator's process at once; for the plans that do."""
        self.plan = plan or Plan()
        self.counts: Counter[Sort] = Counter()
        self.record: list[Exchange] = []
        self.hits: list[Injection] = []
        """What of the plan came to pass."""
        self.last_write = time.monotonic()
        self._server = server
        self._pki = pki
        self._kill = kill or (lambda: None)
        self._began = time.monotonic()
        self._lists: dict[tuple[str, str], Answer] = {}
        """The first answer to each list, by path and selector."""
        self._stale: set[tuple[str, str]] = set()
        """The lists that are answered with that next time."""
        self._handling: set[asyncio.Task[Any]] = set()
        self._silent_until = 0
        """The watches up to this number say nothing."""
        self._session: aiohttp.ClientSession
        self._web = web.Server(self._serve, access_log=None)
        self._runner = web.ServerRunner(self._web, shutdown_timeout=1.0)
        self._site: web.TCPSite | None = None
        self._port = 0

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Proxy:
        connector = aiohttp.TCPConnector(ssl=_tls(self._pki), limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        await self._runner.setup()
        await self.come_back()
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.go_away()
        # A connection that is cut leaves its handler waiting for the API server.
        for task in self._handling:
            task.cancel()
        await asyncio.gather(*self._handling, return_exceptions=True)
        await self._session.close()
        await self._runner.cleanup()

    async def go_away(self) -> None:
        """Nobody listens any more, and every connection is cut: the API server is away."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self.cut()

    async def come_back(self) -> None:
        """Listen, on the same port as before."""
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        if not self._port:
            self._port = self._runner.addresses[0][1]

    def cut(self) -> None:
        """Cut every connection."""
        for connection in list(self._web.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def silence(self) -> None:
        """Every watch that is open now delivers nothing any more, and stays open."""
        self._silent_until = self.counts["watch"]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that leads here."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "current-context": "proxy",
        }
        path.write_text(json.dumps(config))
        return path

    def quiet_for(self) -> float:
        """Seconds since the last write."""
        return time.monotonic() - self.last_write

    def watches_since(self, moment: float) -> int:
        """How many watches were asked for since that moment of the monotonic clock."""
        return sum(one.sort == "watch" and one.seconds >= moment - self._began for one in self.record)

    def idle(self) -> bool:
        """Whether no write is under way."""
        return all(exchange.outcome for exchange in self.record if exchange.sort == "write")

    # -- requests -----------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None, "a request is served in a task"
        self._handling.add(task)
        try:
            return await self._answer(request)
        finally:
            self._handling.discard(task)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        exchange = self._noted(_sort(request), request.method, request.path_qs, request.headers.get("User-Agent", ""))
        injection = self._injected(exchange)
        try:
            if injection is not None:
                return await self._go_wrong(injection.fault, request, body, exchange)
            if exchange.sort == "watch":
                return await self._watch(request, exchange)
            return self._told(await self._forward(request, body), exchange)
        except (aiohttp.ClientError, ConnectionError) as error:
            return self._drop(request, exchange, f"{DROPPED}: {type(error).__name__}")

    async def _forward(self, request: web.BaseRequest, body: bytes) -> Answer:
        key = (request.path, request.query.get("labelSelector", ""))
        listed = request.method == "GET" and "limit" in request.query and request.query["limit"] != "1"
        if listed and key in self._stale:
            self._stale.discard(key)
            return self._lists[key]
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        url = URL(self._server + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, data=body or None, headers=headers) as response:
            passed = {
                name: response.headers[name] for name in ("Content-Type", "Retry-After") if name in response.headers
            }
            answer = Answer(response.status, await response.read(), passed)
        if listed and answer.status == 200:
            self._lists.setdefault(key, answer)
        return answer

    async def _go_wrong(
        self, fault: str, request: web.BaseRequest, body: bytes, exchange: Exchange
    ) -> web.StreamResponse:
        """Every fault of a request: what of it takes effect, and what the operator is told."""
        name = fault.removeprefix("read-").removeprefix("watch-")
        effect = ""
        if name.isdigit():
            return self._told(_refusal(int(name)), exchange)
        if name in ("hang-before", "hang-late", "hang"):
            await asyncio.sleep(HANG_SECONDS)
        if name == "kill-before":
            self._kill()
        if name in ("drop-after", "hang-after", "hang-late", "kill-after"):
            answer = await self._forward(request, body)
            effect = f"{answer.status}, "
        if name == "hang-after":
            await asyncio.sleep(HANG_SECONDS)
        if name == "kill-after":
            self._kill()
        return self._drop(request, exchange, effect + DROPPED)

    def _told(self, answer: Answer, exchange: Exchange) -> web.Response:
        exchange.outcome = str(answer.status)
        return answer.response()

    @staticmethod
    def _drop(request: web.BaseRequest, exchange: Exchange, outcome: str) -> web.Response:
        exchange.outcome = outcome
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    # -- watches ------------------------------------------------------------------------------------------------------

    async def _watch(self, request: web.BaseRequest, exchange: Exchange) -> web.StreamResponse:
        url = URL(self._server + request.raw_path, encoded=True)
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        async with self._session.get(url, headers=headers, read_bufsize=LINE_LIMIT) as upstream:
            if upstream.status != 200:
                return self._told(Answer(upstream.status, await upstream.read()), exchange)
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            exchange.outcome = "open"
            async for line in upstream.content:
                if request.transport is None or request.transport.is_closing():
                    break  # the operator is gone: nobody sees this event
                if exchange.number <= self._silent_until:
                    continue
                if not await self._deliver(line, request, response):
                    break
            exchange.outcome = "closed"
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
        return response

    async def _deliver(self, line: bytes, request: web.BaseRequest, response: web.StreamResponse) -> bool:
        """One event, unless the plan says otherwise. Says whether the watch goes on."""
        event: dict[str, Any] = json.loads(line)
        meta = event["object"].get("metadata", {})
        if event["type"] == "BOOKMARK":
            await response.write(line)
            return True
        seen = f"{event['object']['kind']} {meta.get('name', '')} at {meta.get('resourceVersion', '')}"
        exchange = self._noted("event", event["type"], seen, request.headers.get("User-Agent", ""))
        injection = self._injected(exchange)
        fault = injection.fault if injection else ""
        if fault == "cut":
            self._drop(request, exchange, DROPPED)
            return False
        if fault in ("expire", "old-list", "error"):
            if fault == "old-list":
                self._stale.add((request.path, request.query.get("labelSelector", "")))
            exchange.outcome = "replaced"
            refusal = json.loads(_refusal(500 if fault == "error" else 410).body)
            await response.write(json.dumps({"type": "ERROR", "object": refusal}).encode() + b"\n")
            return False
        if fault == "lag":
            await asyncio.sleep(LAG_SECONDS)
        await response.write(line)
        exchange.outcome = "delivered"
        return True

    # -- the record ---------------------------------------------------------------------------------------------------

    def _noted(self, sort: Sort, verb: str, path: str, agent: str) -> Exchange:
        self.counts[sort] += 1
        now = time.monotonic()
        if sort == "write":
            self.last_write = now
        exchange = Exchange(now - self._began, sort, self.counts[sort], verb, path, agent.split(" ")[0])
        self.record.append(exchange)
        return exchange

    def _injected(self, exchange: Exchange) -> Injection | None:
        injection = self.plan.find(exchange.sort, exchange.number)
        if injection is not None:
            exchange.fault = f"{injection}: {FAULTS[injection.fault].says}"
            self.hits.append(injection)
        return injection


def _tls(pki: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


def _sort(request: web.BaseRequest) -> Sort:
    if "/leases" in request.path:
        return "lease"
    if request.method in WRITES:
        return "write"
    return "watch" if request.query.get("watch") == "true" else "read"


def _refusal(code: int) -> Answer:
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the fault harness says so",
        "reason": REASONS[code],
        "code": code,
    }
    headers = {"Content-Type": "application/json"}
    if code == 429:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Answer(code, json.dumps(status).encode(), headers)
