"""The operator: puts the parts together, starts them in order, and ends them in order.

Start: preflight, watches, caches synced, lease, workers. End: workers, lease, watches; or at once when the lease is
lost, since then another process may lead soon.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from kaon.controllers.base import Controller
from kaon.engine import metrics
from kaon.engine.apply import Applier
from kaon.engine.cache import Cache
from kaon.engine.client import ApiError, Client
from kaon.engine.custom import CustomResources
from kaon.engine.events import Recorder
from kaon.engine.health import LAG_SECONDS, OLDEST_SECONDS, Health, LoopLag
from kaon.engine.kinds import Kinds
from kaon.engine.lease import Lease
from kaon.engine.options import lease_namespace, operator_config
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.policies import Policies
from kaon.engine.queue import WorkQueue, backoff
from kaon.engine.reconcile import Reconciler
from kaon.engine.resources import CHILDREN, RESOURCES, Resource
from kaon.engine.room import Room
from kaon.engine.watch import AWAY_SECONDS, Lister, Watches

log = logging.getLogger("kaon.operator")

DISCOVERY_SECONDS = 60.0
RELIST_SECONDS = 0.1
SYNC_SECONDS = 0.05
GRACE_SECONDS = 5.0


class Operator:
    """One process of the operator."""

    def __init__(
        self, options: argparse.Namespace, controllers: Sequence[Controller], client: Client, root_key: bytes
    ) -> None:
        by_kind = {controller.kind: controller for controller in controllers}
        namespaces: tuple[str, ...] = options.namespaces
        self._options = options
        self._client = client
        self._queue = WorkQueue()
        self._cache = Cache(by_kind, self._queue.add, Room(int(options.namespace_cache_mib * 2**20)))
        self._custom = [RESOURCES[kind] for kind in by_kind]
        self._kinds = Kinds()
        self._own = OwnWrites(self._queue.add, by_namespace=bool(namespaces))
        self._lister = Lister(client, self._cache, self._kinds, self._own, namespaces)
        self._watches = Watches(self._lister, CHILDREN)
        self._kopf = CustomResources(client, self._cache, self._kinds, self._own, self._custom, namespaces)
        self._recorder = Recorder(client)
        self._policies = Policies(client, options.require_policies, namespaces or (lease_namespace(options),))
        self._reconciler = Reconciler(
            by_kind,
            operator_config(options, root_key),
            self._cache,
            self._queue,
            Applier(client, self._cache, self._own),
            self._own,
            self._recorder,
            self._watches.capabilities,
        )
        self._lease = Lease(client, lease_namespace(options), options.lease_name)
        self._lag = LoopLag()
        self._health = Health(self._not_ready, self._not_alive, self._update_metrics)
        self._synced = False
        self._relist: dict[str, Resource] = {}
        """The kinds that kopf has listed again."""
        self._relisted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._capabilities: frozenset[str] = frozenset()

    async def run(self) -> int:
        """Run until a signal (0) or a failure (1)."""
        metrics.REGISTRY.register(metrics.Resources(lambda: self._cache.phases))
        metrics.REGISTRY.register(metrics.WatchUp(self._kinds.standing))
        self._client.may_write = self._may_write
        try:
            await self._health.start(self._options.health_port, self._options.metrics_port)
        except OSError as error:
            log.critical(f"A port cannot be listened on: {error.strerror}. Choose --health-port and --metrics-port.")
            return 1
        self._kopf.relisted = self._ask_for_resync
        # What was refused while a kind was not served waits for a growing time; it need not any more.
        self._kinds.returned = lambda kind: self._wake_all()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        background = [
            self._start("custom resources", self._kopf.run()),
            self._start("event loop lag", self._lag.measure()),
            self._start("events", self._recorder.work()),
        ]
        self._watches.start()
        background += [
            self._start("watches", self._watches.failed()),
            self._start("discovery", self._discover()),
            self._start("resync", self._resync()),
            self._start("policies", self._policies.watch()),
            self._start("leader", self._lead()),
        ]
        stop = self._start("stop", self._wait_for_signal())
        done, _ = await asyncio.wait([stop, *background], return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in done if task is not stop]
        for task in failed:
            log.critical(f"{task.get_name()} ended", exc_info=task.exception())
        await self._end([task for task in background if not task.done()])
        return 1 if failed else 0

    # -- parts ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _start(name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work, name=name)

    async def _wait_for_signal(self) -> None:
        await self._stopping.wait()
        log.info("stopping")

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Workers first, then the lease, then everything else."""
        order = sorted(tasks, key=lambda task: task.get_name() != "leader")
        for task in order[:1]:
            await _cancel(task)
        await self._lease.release()
        for task in order[1:]:
            task.cancel()
        await asyncio.wait(order, timeout=GRACE_SECONDS)
        await self._health.stop()
        await self._client.close()

    async def _lead(self) -> None:
        """Sync, become the leader, work. Ends only by being cancelled, or the whole process by a lost lease."""
        await self._policies.until_in_force()
        await self._sync()
        log.info("caches are synced", extra={"resources": sum(len(self._cache.keys(r.kind)) for r in self._custom)})
        if self._options.leader_elect:
            await self._lease.acquire()
        metrics.LEADER.set(1)
        workers = [self._start(f"worker {number}", self._reconciler.work()) for number in range(self._options.workers)]
        try:
            if self._options.leader_elect:
                await self._lease.keep()
                logging.shutdown()
                # Nothing is tidied up: the old leader must be gone before another one can be.
                os._exit(1)
            await asyncio.gather(*workers)
        finally:
            metrics.LEADER.set(0)
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers, timeout=GRACE_SECONDS)

    async def _sync(self) -> None:
        """Wait until everything was listed: the custom resources once kopf has told from where it watches them."""
        await self._watches.synced()
        while not all(self._kinds.is_settled(kind.kind) for kind in self._custom):  # noqa: ASYNC110
            await asyncio.sleep(SYNC_SECONDS)
        self._synced = True

    async def _list_custom(self, resources: Iterable[Resource]) -> None:
        for resource in resources:
            for scope in self._lister.scopes:
                try:
                    await self._lister.list(resource, scope)
                except ApiError as error:
                    if error.status != 404:
                        raise
                    self._kinds.absent(resource.kind, scope)
                    self._cache.drop_kind(resource.kind)

    async def _discover(self) -> None:
        while True:
            await self._watches.discover()
            # A kind that just came is a capability only once it is listed.
            await asyncio.sleep(1.0)
            found = self._watches.capabilities()
            if found != self._capabilities:
                self._capabilities = found
                self._wake_all()
            await asyncio.sleep(min(DISCOVERY_SECONDS, self._options.resync_seconds))

    def _wake_all(self) -> None:
        for resource in self._custom:
            for key in self._cache.keys(resource.kind):
                self._queue.add(key)

    async def _resync(self) -> None:
        """List a kind after kopf has begun to watch it, and now and then everything; take the difference in."""
        failures = 0
        while True:
            asked = await self._wait_for_relist(self._options.resync_seconds * random.uniform(0.9, 1.1))
            try:
                await self._list_custom(asked or self._custom)
                if not asked:
                    await self._watches.resync()
                failures = 0
            except ApiError as error:
                failures += 1
                delay = backoff(failures, most=AWAY_SECONDS)
                log.warning("a list failed", extra={"cause": str(error), "retry_in": round(delay, 1)})
                for resource in asked:
                    self._ask_for_resync(resource)
                await asyncio.sleep(delay)
            self._cache.sweep()

    def _ask_for_resync(self, resource: Resource) -> None:
        self._relist[resource.kind] = resource
        self._relisted.set()

    async def _wait_for_relist(self, seconds: float) -> list[Resource]:
        try:
            async with asyncio.timeout(seconds):
                await self._relisted.wait()
        except TimeoutError:
            return []
        await asyncio.sleep(RELIST_SECONDS)  # other scopes and kinds, at the start
        self._relisted.clear()
        asked, self._relist = list(self._relist.values()), {}
        return asked

    # -- state, for the fence, probes and metrics -------------------------------------------------------------------

    def _may_write(self) -> bool:
        return not self._options.leader_elect or self._lease.held()

    def _not_ready(self) -> str:
        if missing := self._policies.missing():
            return missing
        if not self._synced:
            return f"not listed yet: {', '.join(self._watches.waiting_for()) or 'custom resources'}"
        unwatched = self._kinds.unwatched()
        return f"changes are not seen of {', '.join(unwatched)}" if unwatched else ""

    def _not_alive(self) -> str:
        oldest = self._queue.oldest()
        if oldest > OLDEST_SECONDS and metrics.LEADER._value.get():
            return f"a resource waits for a worker since {oldest:.0f} s"
        return f"the event loop lags {self._lag.seconds:.0f} s" if self._lag.seconds > LAG_SECONDS else ""

    def _update_metrics(self) -> None:
        metrics.QUEUE_DEPTH.set(len(self._queue) + self._reconciler.waiting)
        metrics.QUEUE_OLDEST.set(self._queue.oldest())
        metrics.UNSEEN.set(self._own.unseen())
        metrics.CACHE_BYTES.set(self._cache.room.kept_bytes)
        metrics.CACHE_LEFT_OUT.set(self._cache.room.left_out)
        metrics.CACHE_FULL.set(self._cache.room.full)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=2 * GRACE_SECONDS)
