"""kopf, reduced to what it is here for: watching the custom resources and resuming after a restart.

One `on.event` handler a kind puts the object into the cache, which wakes whom it concerns. No create or update
handlers, timers or daemons: they would put finalizers and annotations on users' objects.

kopf lists a kind before it watches it: when it begins, and again after a 410. It reports no deletions then, and reads
pages of a fixed number of objects, however large. So what it lists is kept from it, but for the version from which it
watches on; and each list of kopf's asks for one here (watch.py), which comes after it and finds also what is gone.

Each kind has a kopf of its own, in a thread with an event loop of its own. An answer that kopf does not expect (404
because the kind was deleted, 410 when a watch opens, an error in the middle of one) ends all of kopf, and with it every
task of its loop, whosoever they are. Here that is the end of a round of that kind. The next one begins when the kind is
served: kopf looks at the discovery once, and never watches what it does not find there. A round that asks nothing,
though its kind is not watched, is ended too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import kopf

from kaon.controllers.base import Object, key_of
from kaon.engine import metrics
from kaon.engine.cache import Cache
from kaon.engine.client import ApiError, Client
from kaon.engine.kinds import Kinds, Scope
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.queue import backoff
from kaon.engine.requests import Requests
from kaon.engine.resources import Resource
from kaon.engine.round import Round
from kaon.engine.watch import AWAY_SECONDS

log = logging.getLogger("kaon.kopf")

TOKEN_SECONDS = 600
"""How often kopf looks for a renewed token; it is renewed on disk well before it expires."""
IDLE_SECONDS = 0.05
"""How long kopf's task for an object waits for another event, the last one in hand: thousands of them at a start."""
YOUNG_SECONDS = 60.0
"""A round that ends before is followed by the next one after a growing pause."""
ABSENT_SECONDS = 1.0
"""How often it is looked whether a kind is served that was not."""
STUCK_SECONDS = 2.5
"""A kind that is not watched, and of which nothing is asked for so long, has been given up by kopf."""
LOOK_SECONDS = 0.5


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf computes what changed for handlers that are not used here; this saves it a deep copy of each event."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        """Nothing is remembered."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """Nothing was remembered."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Nothing to remember."""


class _NoProgress(kopf.ProgressStorage):
    """kopf remembers how far its handlers are on the object itself; an event handler has no progress."""

    def fetch(self, *, key: Any, body: Any) -> Any:
        """Nothing was remembered."""
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Nothing to remember."""

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Nothing to forget."""

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        """Objects are never touched."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing to hide."""
        return essence


class CustomResources:
    """The watches of the custom resources."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        kinds: Kinds,
        own: OwnWrites,
        resources: Iterable[Resource],
        namespaces: tuple[str, ...],
    ) -> None:
        self._client = client
        self._cache = cache
        self._kinds = kinds
        self._own = own
        self._resources = tuple(resources)
        self._namespaces = namespaces
        self._scopes: tuple[Scope, ...] = namespaces or (None,)
        self.relisted: Callable[[Resource], None] = lambda resource: None
        """Called when kopf lists a kind."""
        for resource in self._resources:
            kinds.expect(resource.kind, self._scopes)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for resource in self._resources:
                group.create_task(self._keep(resource), name=f"watch of {resource.plural}")

    async def _keep(self, resource: Resource) -> None:
        """Watch one kind, in one round after the other."""
        failures = 0
        while True:
            if await self._until_served(resource):
                failures = 0
            began = time.monotonic()
            cause = await self._round(resource)
            for scope in self._scopes:
                self._kinds.lost(resource.kind, scope)
            failures = failures + 1 if time.monotonic() - began < YOUNG_SECONDS else 1
            delay = backoff(failures, most=AWAY_SECONDS)
            metrics.WATCH_RESTARTS.labels(resource.kind).inc()
            log.warning(
                f"the watch of {resource.plural} ended; listing again",
                extra={"cause": repr(cause), "retry_in": round(delay, 1)},
            )
            await asyncio.sleep(delay)

    async def _until_served(self, resource: Resource) -> bool:
        """Wait until the API server knows the kind and says so in its discovery. Returns whether it did not."""
        failures, absent = 0, False
        while True:
            try:
                for scope in self._scopes:
                    await self._client.get(resource.path(scope), limit=1)
                group = await self._client.get(resource.root)
            except ApiError as error:
                if error.status != 404:
                    failures += 1
                    delay = max(backoff(failures, most=AWAY_SECONDS), error.retry_after or 0.0)
                    extra = {"cause": str(error), "retry_in": round(delay, 1)}
                    log.warning(f"{resource.plural} cannot be listed", extra=extra)
                    await asyncio.sleep(delay)
                    continue
                absent = True
                self._cache.drop_kind(resource.kind)
                for scope in self._scopes:
                    self._kinds.absent(resource.kind, scope)
            else:
                if any(found["name"] == resource.plural for found in group.get("resources", ())):
                    return absent
            await asyncio.sleep(ABSENT_SECONDS)

    async def _round(self, resource: Resource) -> Exception:
        """One life of kopf for a kind. Returns what it ended by."""
        engine = asyncio.get_running_loop()

        def heard(what: str, scope: Scope) -> None:
            with contextlib.suppress(RuntimeError):  # the engine's loop is closed: the process ends
                engine.call_soon_threadsafe(self._heard, one, resource, what, scope)

        requests = Requests(resource, self._scopes, heard)
        one = Round(lambda: self._tasks(engine, resource, requests))
        living = asyncio.create_task(one.run(), name=f"kopf for {resource.plural}")
        try:
            while not living.done():
                await asyncio.wait([living], timeout=LOOK_SECONDS)
                if requests.stuck_for() > STUCK_SECONDS:
                    one.stop(TimeoutError(f"nothing was asked for {STUCK_SECONDS} s"))
            return living.result()
        finally:
            if not living.done():
                living.cancel()
                await asyncio.wait([living])

    def _heard(self, one: Round, resource: Resource, what: str, scope: Scope) -> None:
        if one.ended:
            return
        if what == "list":
            self.relisted(resource)
        elif what == "watch":
            self._kinds.watched(resource.kind, scope)
        else:
            self._kinds.lost(resource.kind, scope)

    async def _tasks(
        self, engine: asyncio.AbstractEventLoop, resource: Resource, requests: Requests
    ) -> Collection[asyncio.Task[None]]:
        """kopf's tasks in the running event loop; what they see is said in the engine's."""
        return await kopf.spawn_tasks(
            registry=self._registry(engine, resource, requests),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
        )

    def _registry(
        self, engine: asyncio.AbstractEventLoop, resource: Resource, requests: Requests
    ) -> kopf.OperatorRegistry:
        async def hand_over(event: Any, **unused: Any) -> None:
            engine.call_soon_threadsafe(self._take, event["type"], event["object"])

        async def login(**unused: Any) -> kopf.AiohttpSession:
            return await self._login(requests)

        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="kaon")(login)
        group, _, version = resource.api_version.partition("/")
        kopf.on.event(group, version, resource.plural, registry=registry, id="kaon")(hand_over)
        return registry

    def _take(self, event: str | None, obj: Object) -> None:
        if event == "DELETED":
            self._cache.remove(key_of(obj), obj["metadata"]["uid"])
            self._own.saw_gone(key_of(obj))
        else:
            self._cache.put(obj)
            self._own.saw(obj)

    async def _login(self, requests: Requests) -> kopf.AiohttpSession:
        configuration: Any = self._client.configuration
        authorization = await self._client.authorization()
        scheme, token = (authorization or " ").split(" ", 1)
        info = kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            ca_data=configuration.ca_cert_data,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme.capitalize() or None,
            token=token.strip() or None,
        )
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=configuration.proxy,
            trace_configs=[requests.trace()],
            response_class=requests.response_class(),
        )
        expiration = datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS) if token else None
        return kopf.AiohttpSession(server=info.server, aiohttp_session=session, expiration=expiration)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # no list of CRDs or namespaces: the same code runs with a Role alone
    settings.watching.server_timeout = 600
    settings.watching.chunk_size = 1  # of a list that it does not get to see
    settings.networking.request_timeout = 30
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.persistence.finalizer = "kaon.dev/unused"
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.process.ultimate_exiting_timeout = None
    return settings
