"""What kopf asks the API server for, followed on its connections: whether it lists and watches a kind right now.

kopf says neither when a watch is open nor that it has given a kind up: it looks at the discovery once, and what is not
served at that moment it never watches. So its requests are the only witness. Changes no request; of the answer to a
list it lets through the version alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp

from kaon.engine.kinds import Scope
from kaon.engine.resources import Resource


class Requests:
    """The requests of one round of kopf, which is there for one kind. `tell` may be called from any thread."""

    def __init__(self, resource: Resource, scopes: tuple[Scope, ...], tell: Callable[[str, Scope], None]) -> None:
        """`tell` is called with "list" or "watch" that was answered well, or "lost", and the scope."""
        self._scopes = {resource.path(scope): scope for scope in scopes}
        self._tell = tell
        self._pending = 0
        self._last = time.monotonic()
        self._open: set[Scope] = set()

    def stuck_for(self) -> float:
        """Seconds since anything was asked, while some scope is not watched; 0 while all are, or an answer is due."""
        if self._pending or len(self._open) == len(self._scopes):
            return 0.0
        return time.monotonic() - self._last

    def trace(self) -> aiohttp.TraceConfig:
        """What follows the requests of a session."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._started)
        trace.on_request_end.append(self._answered)
        trace.on_request_exception.append(self._failed)
        return trace

    def response_class(self) -> type[aiohttp.ClientResponse]:
        """The answers of a session, whose lists of the kind are empty."""
        paths = frozenset(self._scopes)

        class Answer(aiohttp.ClientResponse):
            async def json(self, **options: Any) -> Any:
                found = await super().json(**options)
                listed = self.url.path in paths and "watch" not in self.url.query and self.status == 200
                if not listed:
                    return found
                version = {"resourceVersion": found["metadata"]["resourceVersion"]}
                return {**found, "metadata": version, "items": []}

        return Answer

    async def _started(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, told: aiohttp.TraceRequestStartParams
    ) -> None:
        self._pending += 1
        self._last = time.monotonic()
        # kopf asks one thing after the other of a kind and scope: whatever it asks now, its watch is not open.
        if told.url.path in self._scopes:
            self._lose(self._scopes[told.url.path])

    async def _answered(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, told: aiohttp.TraceRequestEndParams
    ) -> None:
        self._ended()
        if told.url.path not in self._scopes or told.response.status >= 300:
            return
        scope = self._scopes[told.url.path]
        if "watch" not in told.url.query:
            self._tell("list", scope)
            return
        self._open.add(scope)
        self._tell("watch", scope)

    async def _failed(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, told: aiohttp.TraceRequestExceptionParams
    ) -> None:
        self._ended()

    def _ended(self) -> None:
        self._pending -= 1
        self._last = time.monotonic()

    def _lose(self, scope: Scope) -> None:
        if scope in self._open:
            self._open.discard(scope)
            self._tell("lost", scope)
