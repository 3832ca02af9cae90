"""Lists and watches of what carries the label `app.kubernetes.io/managed-by=kaon`: children and pods.

kopf watches the custom resources (custom.py); children are watched here, although kopf 1.45 could filter them at the
server too (`settings.watching.label_selectors`). Three reasons: a run of a stage means some thirty events of its
children, and kopf spends 0.3 to 0.4 ms on each for handlers, patches and a memory record per object, where this loop
spends a tenth; after a 410 this loop replaces its view, deletions included, and kopf reports none; and it can say when
a kind is completely listed, which readiness needs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Any

from kaon.controllers.base import Key, Object, key_of
from kaon.engine import metrics
from kaon.engine.cache import Cache
from kaon.engine.client import AnswerTooLargeError, ApiError, Client
from kaon.engine.kinds import Kinds
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.queue import BACKOFF_MAX, backoff
from kaon.engine.resources import Resource
from kaon.resources.labels import MANAGED_BY, MANAGER

log = logging.getLogger("kaon.watch")

SELECTOR = f"{MANAGED_BY}={MANAGER}"
PAGE = 100
"""Objects of one answer: parsed they take ten times the memory that is kept of them."""
PAGE_BYTES = 4 * 2**20
"""An answer that is larger is asked for again in smaller parts: a single object may have more than a mebibyte."""
AWAY_SECONDS = 8.0
"""How long a watch waits at most before it looks whether an API server that could not be reached is back."""
ABSENT_SECONDS = 1.0
"""How often it is looked whether a kind is served that was not."""
HOLD_SECONDS = (300, 600)
"""How long one watch request lasts: another time for each, so that they do not all come back at once."""


class Lister:
    """Full lists of a kind into the cache, deletions included."""

    def __init__(self, client: Client, cache: Cache, kinds: Kinds, own: OwnWrites, namespaces: tuple[str, ...]) -> None:
        self.client = client
        self.cache = cache
        self.kinds = kinds
        self.own = own
        self.scopes: tuple[str | None, ...] = namespaces or (None,)
        """The namespaces to look at; None: all of them in one request."""
        self._limits: dict[str, int] = {}
        """Objects of one answer, by kind."""

    async def list(self, resource: Resource, scope: str | None, selector: str = "") -> str:
        """Make the cache's view of a kind what the server has. Returns the version of the list."""
        query: dict[str, Any] = {"labelSelector": selector} if selector else {}
        listed: set[Key] = set()
        while True:
            page = await self._page(resource, scope, query)
            for item in page.get("items", ()):
                item["kind"], item["apiVersion"] = resource.kind, resource.api_version
                self.cache.put(item)
                listed.add(key_of(item))
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
            del page
        version: str = page["metadata"]["resourceVersion"]
        self.kinds.listed(resource.kind, scope)
        vanished = self.cache.retain(resource.kind, scope, listed, int(version))
        self.own.reached(resource.kind, scope, int(version))
        if vanished:
            log.info(f"{vanished} vanished {resource.plural} found by a list")
        return version

    async def _page(self, resource: Resource, scope: str | None, query: dict[str, Any]) -> Object:
        """One part of a list, of as many objects as their size allows."""
        while True:
            limit = self._limits.get(resource.kind, PAGE)
            most = PAGE_BYTES if limit > 1 else None
            try:
                page, size = await self.client.page(resource.path(scope), most, limit=limit, **query)
            except AnswerTooLargeError:
                self._limits[resource.kind] = max(1, limit // 4)
                continue
            if size < PAGE_BYTES // 4:
                self._limits[resource.kind] = min(PAGE, 2 * limit)
            return page


class Watch:
    """One kind of children in one scope, kept up to date until cancelled."""

    def __init__(self, lister: Lister, resource: Resource, scope: str | None) -> None:
        self._lister = lister
        self._resource = resource
        self._scope = scope
        self._failures = 0
        self.synced = asyncio.Event()
        # There from the beginning: a counter that appears with its first count hides that one from `increase`.
        metrics.WATCH_RESTARTS.labels(resource.kind)

    async def run(self) -> None:
        """List, watch, and begin again whenever that ends."""
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._lister.list(self._resource, self._scope, SELECTOR)
                    self.synced.set()
                version = await self._follow(version)
                self._failures = 0
            except ApiError as error:
                if error.status == 404:
                    version = None
                    await self._absent()
                    continue
                metrics.WATCH_RESTARTS.labels(self._resource.kind).inc()
                if error.status == 410:
                    log.info(f"the watch of {self._resource.plural} is too old; listing again")
                    version = None
                    continue
                self._failures += 1
                # Away, not unwilling: as soon as it is back, nothing shall be planned from what was before.
                refused = 400 <= error.status < 500 and error.status != 429
                most = BACKOFF_MAX if refused else AWAY_SECONDS
                delay = max(backoff(self._failures, most=most), error.retry_after or 0.0)
                self._complain(error, delay)
                await asyncio.sleep(delay)

    async def _absent(self) -> None:
        """The kind is not served: it has no objects, and may be served again at any time."""
        self._failures = 0
        self._lister.cache.drop_kind(self._resource.kind)
        self._lister.kinds.absent(self._resource.kind, self._scope)
        self.synced.set()
        await asyncio.sleep(ABSENT_SECONDS)

    async def _follow(self, version: str) -> str | None:
        """Take in events until the server ends the watch. Returns from where to go on; None: list again."""
        query: dict[str, Any] = {
            "labelSelector": SELECTOR,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": random.randint(*HOLD_SECONDS),
        }
        cache, path = self._lister.cache, self._resource.path(self._scope)
        try:
            async for event in self._lister.client.stream(path, self._opened, **query):
                obj = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError("WATCH", self._resource.plural, int(obj.get("code") or 0), obj)
                version = obj["metadata"]["resourceVersion"]
                self._failures = 0
                if event["type"] == "DELETED":
                    cache.remove(key_of(obj), obj["metadata"]["uid"])
                elif event["type"] != "BOOKMARK":
                    cache.put(obj)
                self._lister.own.reached(self._resource.kind, self._scope, int(version))
        finally:
            self._lister.kinds.lost(self._resource.kind, self._scope)
        return version

    def _opened(self) -> None:
        self._lister.kinds.watched(self._resource.kind, self._scope)

    def _complain(self, error: ApiError, delay: float) -> None:
        where = f"in namespace {self._scope}" if self._scope else "in all namespaces"
        extra = {"cause": str(error), "retry_in": round(delay, 1)}
        if error.status == 403:
            group = self._resource.group or "the core group"
            log.error(f"not allowed to list and watch {self._resource.plural} of {group} {where}", extra=extra)
        elif self._failures > 1 or error.status:
            log.warning(f"the watch of {self._resource.plural} {where} broke off", extra=extra)


class Watches:
    """All watches of children; those of optional kinds come and go with the kinds."""

    def __init__(self, lister: Lister, children: Iterable[Resource]) -> None:
        self._lister = lister
        self._children = tuple(children)
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._watches: dict[str, list[Watch]] = {}

    def start(self) -> None:
        """Start the watches of every kind that any cluster serves."""
        for resource in self._children:
            if not resource.optional:
                self._start(resource)

    async def synced(self) -> None:
        """Wait until every kind that is not optional was listed, or is known not to be served."""
        for resource in self._children:
            if not resource.optional:
                for watch in self._watches[resource.kind]:
                    await watch.synced.wait()

    def waiting_for(self) -> list[str]:
        """The kinds whose first list is not there yet."""
        return [
            resource.kind for resource in self._children if not resource.optional and not self._listed(resource.kind)
        ]

    def capabilities(self) -> frozenset[str]:
        """The optional kinds that are served and listed."""
        return frozenset(
            resource.kind for resource in self._children if resource.optional and self._listed(resource.kind)
        )

    def _listed(self, kind: str) -> bool:
        watches = self._watches.get(kind, [])
        return bool(watches) and all(watch.synced.is_set() for watch in watches)

    async def discover(self) -> None:
        """Look which optional kinds the cluster serves now, and start or stop their watches."""
        for root in {resource.root for resource in self._children if resource.optional}:
            served = await self._served(root)
            for resource in self._children:
                if not resource.optional or resource.root != root or served is None:
                    continue
                if resource.plural in served and resource.kind not in self._tasks:
                    log.info(f"the cluster serves {resource.plural}")
                    self._start(resource)
                elif resource.plural not in served and resource.kind in self._tasks:
                    log.info(f"the cluster serves {resource.plural} no longer")
                    await self._stop(resource)

    async def _served(self, root: str) -> frozenset[str] | None:
        """The plurals of a group and version; None when the server does not say."""
        try:
            found = await self._lister.client.get(root)
        except ApiError as error:
            if error.status == 404:
                return frozenset()
            log.warning(f"the discovery of {root} failed", extra={"cause": str(error)})
            return None
        return frozenset(resource["name"] for resource in found.get("resources", []))

    def _start(self, resource: Resource) -> None:
        self._lister.kinds.expect(resource.kind, self._lister.scopes)
        watches = [Watch(self._lister, resource, scope) for scope in self._lister.scopes]
        self._watches[resource.kind] = watches
        self._tasks[resource.kind] = [
            asyncio.create_task(watch.run(), name=f"watch of {resource.plural}") for watch in watches
        ]
        for task in self._tasks[resource.kind]:
            task.add_done_callback(_report)

    async def _stop(self, resource: Resource) -> None:
        tasks = self._tasks.pop(resource.kind)
        del self._watches[resource.kind]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lister.kinds.forget(resource.kind)
        self._lister.cache.drop_kind(resource.kind)

    async def resync(self) -> None:
        """List every watched kind once more and take the difference in."""
        for resource in self._children:
            # What is not watched is listed by its watch, as soon as it can be.
            if resource.kind in self._tasks and self._lister.kinds.is_watched(resource.kind):
                for scope in self._lister.scopes:
                    await self._lister.list(resource, scope, SELECTOR)

    async def failed(self) -> None:
        """Return never; raise what ended a watch, which only a defect can."""
        while True:
            for tasks in self._tasks.values():
                for task in tasks:
                    if task.done() and not task.cancelled():
                        task.result()
            await asyncio.sleep(1.0)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("a watch ended by a defect", exc_info=task.exception())
