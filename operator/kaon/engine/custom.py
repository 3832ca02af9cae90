"""kopf, reduced to what it is here for: watching the custom resources and resuming after a restart.

One `on.event` handler a kind puts the object into the cache, which wakes whom it concerns. No create or update
handlers, timers or daemons: they would put finalizers and annotations on users' objects. After a 410 kopf lists again
but reports no deletions; the listed objects come without an event type, which here asks for a resync of the kind.

kopf runs in a thread with an event loop of its own. An answer that it does not expect (a watch that is refused with 410
when it opens, an error in the middle of one) ends all of kopf, and with it every task of its loop, whosoever they are.
Here that is the end of a round, and the next one begins with a list.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from kaon.controllers.base import Object, key_of
from kaon.engine.cache import Cache
from kaon.engine.client import Client
from kaon.engine.queue import backoff
from kaon.engine.resources import Resource
from kaon.engine.round import Round
from kaon.engine.watch import PAGE

log = logging.getLogger("kaon.kopf")

TOKEN_SECONDS = 600
"""How often kopf looks for a renewed token; it is renewed on disk well before it expires."""
IDLE_SECONDS = 0.05
"""How long kopf's task for an object waits for another event, the last one in hand: thousands of them at a start."""
ROUNDS = 5
"""So many rounds that ended young, one after the other, and the cluster is not usable as it is."""
YOUNG_SECONDS = 60.0


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
        self, client: Client, cache: Cache, resources: Iterable[Resource], namespaces: tuple[str, ...]
    ) -> None:
        self._client = client
        self._cache = cache
        self._resources = tuple(resources)
        self._namespaces = namespaces
        self.relisted: Callable[[], None] = lambda: None
        """Called for each object that kopf lists."""

    async def run(self) -> None:
        """Watch until cancelled, in one round after the other.

        Raises:
            Exception: what ended the last of too many rounds; a new process begins with a look at what is wrong.
        """
        failures = 0
        while True:
            began = time.monotonic()
            cause = await Round(self._tasks).run()
            failures = failures + 1 if time.monotonic() - began < YOUNG_SECONDS else 1
            if failures > ROUNDS:
                raise cause
            delay = backoff(failures)
            log.warning(
                "the watches of the custom resources ended; listing again",
                extra={"cause": repr(cause), "retry_in": round(delay, 1)},
            )
            await asyncio.sleep(delay)

    async def _tasks(self, engine: asyncio.AbstractEventLoop) -> Collection[asyncio.Task[None]]:
        """kopf's tasks in the running event loop; what they see is said in the engine's."""
        return await kopf.spawn_tasks(
            registry=self._registry(engine),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
        )

    def _registry(self, engine: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        async def hand_over(event: Any, **unused: Any) -> None:
            engine.call_soon_threadsafe(self._take, event["type"], event["object"])

        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="kaon")(self._login)
        for resource in self._resources:
            group, _, version = resource.api_version.partition("/")
            kopf.on.event(group, version, resource.plural, registry=registry, id="kaon")(hand_over)
        return registry

    def _take(self, event: str | None, obj: Object) -> None:
        if event == "DELETED":
            self._cache.remove(key_of(obj), obj["metadata"]["uid"])
            return
        self._cache.put(obj)
        if event is None:
            self.relisted()

    async def _login(self, **unused: Any) -> kopf.ConnectionInfo:
        configuration: Any = self._client.configuration
        authorization = await self._client.authorization()
        scheme, token = (authorization or " ").split(" ", 1)
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            ca_data=configuration.ca_cert_data,
            insecure=not configuration.verify_ssl,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            scheme=scheme.capitalize() or None,
            token=token.strip() or None,
            proxy_url=configuration.proxy,
            expiration=datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS) if token else None,
        )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True  # no list of CRDs or namespaces: the same code runs with a Role alone
    settings.watching.server_timeout = 600
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 30
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.persistence.finalizer = "kaon.dev/unused"
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.process.ultimate_exiting_timeout = None
    return settings
