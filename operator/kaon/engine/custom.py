"""kopf, reduced to what it is here for: watching the custom resources and resuming after a restart.

One `on.event` handler a kind puts the object into the cache, which wakes whom it concerns. No create or update
handlers, timers or daemons: they would put finalizers and annotations on users' objects. After a 410 kopf lists again
but reports no deletions; the listed objects come without an event type, which here asks for a resync of the kind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from kaon.controllers.base import key_of
from kaon.engine.cache import Cache
from kaon.engine.client import Client
from kaon.engine.resources import Resource

log = logging.getLogger("kaon.kopf")

TOKEN_SECONDS = 600
"""How often kopf looks for a renewed token; it is renewed on disk well before it expires."""


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

    async def run(self, ready: asyncio.Event) -> None:
        """Watch until cancelled. Ends by an error when the API server refuses for good."""
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            ready_flag=ready,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="kaon")(self._login)
        for resource in self._resources:
            group, _, version = resource.api_version.partition("/")
            kopf.on.event(group, version, resource.plural, registry=registry, id="kaon")(self._event)
        return registry

    async def _event(self, event: Any, **unused: Any) -> None:
        obj = event["object"]
        if event["type"] == "DELETED":
            self._cache.remove(key_of(obj), obj["metadata"]["uid"])
            return
        self._cache.put(obj)
        if event["type"] is None:
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
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.persistence.finalizer = "kaon.dev/unused"
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.process.ultimate_exiting_timeout = None
    return settings
