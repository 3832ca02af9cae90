"""One reconcile: gather Observed, ask the controller for its Plan, make it true, say what happened.

Decides nothing about a kind. Errors end here: every one is logged with what to do about it, counted, and turned into
a later try.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from kaon.api import conditions as c
from kaon.api.text import bounded
from kaon.controllers.base import Controller, EventRecord, Key, Object, Observed, OperatorConfig, Plan
from kaon.controllers.conditions import State, refused
from kaon.engine import metrics
from kaon.engine.apply import OCCUPIED_SECONDS, Applier, OccupiedError, OutdatedError
from kaon.engine.cache import Cache
from kaon.engine.client import ApiError, WriteRefusedError, path_kind
from kaon.engine.events import Recorder
from kaon.engine.logs import about
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.queue import WorkQueue
from kaon.engine.resources import RESOURCES
from kaon.engine.slim import Entry
from kaon.engine.turns import Turns

log = logging.getLogger("kaon.reconcile")

CONFLICT_SECONDS = 0.5
LOOK_AGAIN_SECONDS = 1.0
READ_BYTES = 4 * 2**20
"""Of the children of one resource that the cache has left out."""
READING_SECONDS = 60.0
"""Until a resource that waits for its turn to read what was left out is tried again, unless its turn comes before."""
_LATER = frozenset({0, 408, 409, 429})
"""Answers that say "not now"; so does every 5xx."""


class _PostponedError(Exception):
    """Another resource is being read that the cache has left out."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a plan is made from, and the version of the resource itself in it."""

    observed: Observed
    version: int
    read: Mapping[Key, Object]
    """What the cache had left out."""


class Reconciler:
    """Works on keys of the queue, one after the other; several may run at once."""

    def __init__(
        self,
        controllers: Mapping[str, Controller],
        config: OperatorConfig,
        cache: Cache,
        queue: WorkQueue,
        applier: Applier,
        own: OwnWrites,
        recorder: Recorder,
        capabilities: Callable[[], frozenset[str]],
    ) -> None:
        self._controllers = controllers
        self._config = config
        self._cache = cache
        self._queue = queue
        self._applier = applier
        self._own = own
        self._recorder = recorder
        self._capabilities = capabilities
        self._turns = Turns()

    @property
    def waiting(self) -> int:
        """Resources that wait for their turn to read what the cache has left out."""
        return len(self._turns)

    async def work(self) -> None:
        """Take keys for ever."""
        while True:
            await self.once(await self._queue.get())

    async def once(self, key: Key) -> None:
        """Reconcile one key and give it back to the queue, whatever happens."""
        started = time.perf_counter()
        unseen_for = self._own.wait_for(key)
        if unseen_for is not None:
            self._queue.later(key, unseen_for)
            metrics.RECONCILE_SECONDS.labels(key.kind, "postponed").observe(time.perf_counter() - started)
            return
        try:
            again_after = await self._reconcile(key)
        except OccupiedError as error:
            outcome = self._occupied(key, error)
        except _PostponedError:
            outcome = "postponed"
            self._queue.later(key, READING_SECONDS)
        except OutdatedError:
            outcome = "conflict"
            self._queue.done(key, 0.0)
        except WriteRefusedError:
            outcome = "not_leader"
            self._queue.done(key)
        except ApiError as error:
            outcome = self._api_error(key, error)
        except Exception:
            outcome = "error"
            delay = self._queue.failed(key)
            log.exception("reconcile failed; this is a defect of the operator", extra=about(key, retry_in=round(delay)))
        except BaseException:  # cancelled: the process ends
            self._queue.done(key)
            raise
        else:
            outcome = "ok"
            self._queue.done(key, again_after)
        if (following := self._turns.following()) is not None:
            self._queue.add(following)
        metrics.RECONCILE_SECONDS.labels(key.kind, outcome).observe(time.perf_counter() - started)

    async def _reconcile(self, key: Key) -> float | None:
        await self._applier.resolve_doubts(key)
        entry = self._cache.entry(key)
        if entry is None:
            self._queue.forget(key)
            self._applier.forget(key)
            return None
        if entry.deleting:
            return None  # its children follow by their owner references
        left_out = self._left_out(key, entry)
        if not left_out:
            return await self._act(key, entry, left_out)
        if not self._turns.take(key):
            raise _PostponedError
        try:
            return await self._act(key, entry, left_out)
        finally:
            self._turns.give()

    async def _act(self, key: Key, entry: Entry, left_out: list[tuple[Key, Entry]]) -> float | None:
        """Plan, write, tell. Returns when to look again."""
        seen = await self._see(key, entry, left_out)
        if seen is None:
            return None  # it is gone; the watch is about to say so
        controller = self._controllers[key.kind]
        plan = controller.plan(seen.observed)
        if plan.look_up:
            for unsure in sorted(plan.look_up):
                await self._applier.look_up(key, unsure)
            seen = await self._see(key, entry, self._left_out(key, entry))
            if seen is None:
                return None
            plan = controller.plan(seen.observed)
        obj = seen.observed.obj
        try:
            wrote = await self._applier.children(obj, plan, seen.read)
        except ApiError as error:
            if error.refusal:
                await self._tell_trouble(obj, seen.version, plan, _refusal(error))
            raise
        except OccupiedError as error:
            if not error.passing:
                await self._tell_trouble(obj, seen.version, plan, _taken(error.key))
            raise
        due = await self._write_status(obj, seen.version, plan.status)
        if due == 0.0:
            self._tell(key, obj, plan)
        # What was written is an observation too. Most often another event brings the key back before this does.
        look_again = LOOK_AGAIN_SECONDS if wrote or due == 0.0 else None
        return min((wait for wait in (plan.requeue_after, due or None, look_again) if wait is not None), default=None)

    async def _see(self, key: Key, entry: Entry, left_out: list[tuple[Key, Entry]]) -> _Seen | None:
        """All that a plan may know; None when the resource itself is gone. What the cache has left out is read."""
        read: dict[Key, Object] = {}
        version = entry.version
        for wanted, known in left_out:
            found = await self._applier.read(wanted)
            if found is not None and found[0]["metadata"]["uid"] == known.uid:
                read[wanted] = found[0]
                version = found[1] if wanted == key else version
        if entry.data is None and key not in read:
            return None
        cache, uid = self._cache, entry.uid

        def contents(entries: Mapping[Key, Entry]) -> dict[Key, Object]:
            kept = {one: found.obj for one, found in entries.items() if found.data is not None}
            return kept | {one: read[one] for one in entries if one in read}

        observed = Observed(
            obj=read[key] if entry.data is None else entry.obj,
            children=contents(cache.children(key, uid)),
            pods=list(contents(cache.pods(key, uid)).values()),
            references=contents(cache.referred(key)),
            occupied=cache.occupied(key, uid),
            now=datetime.now(UTC),
            config=self._config,
            capabilities=self._capabilities(),
        )
        return _Seen(observed, version, read)

    def _left_out(self, key: Key, entry: Entry) -> list[tuple[Key, Entry]]:
        """What a plan needs and the cache has not kept, smallest first; of children only as much as may be read.

        A child that is left out of a plan's view is not lost: by its key it is still compared, or pruned.
        """
        cache = self._cache
        own = [(key, entry)] if entry.data is None else []
        own += [item for item in cache.referred(key).items() if item[1].data is None]
        children = cache.children(key, entry.uid) | cache.pods(key, entry.uid)
        small = sorted((found.size, one) for one, found in children.items() if found.data is None)
        left = READ_BYTES
        for size, one in small:
            left -= size
            if left < 0:
                break
            own.append((one, children[one]))
        return own

    async def _tell_trouble(self, obj: Object, version: int, plan: Plan, state: State) -> None:
        """Whoever wrote a spec that leads to an impossible object reads so in its status, not only in an Event."""
        generation = obj["metadata"].get("generation", 0)
        status = refused(plan.status, obj.get("status", {}), state, generation, datetime.now(UTC))
        await self._write_status(obj, version, status)

    async def _write_status(self, obj: Object, version: int, status: Object) -> float | None:
        """Write a planned status if it is due (0), with every sentence in its bounds. Returns when it is due.

        One that is too long for its field would be refused as a whole, and the resource would never tell more.
        """
        status = bounded(status)
        due = self._applier.status_due(obj, status)
        if due == 0.0:
            await self._applier.status(obj, version, status)
        return due

    def _tell(self, key: Key, obj: Object, plan: Plan) -> None:
        before = obj.get("status", {})
        metrics.observe_stage(key.kind, before, plan.status)
        if before.get("phase") != plan.status.get("phase"):
            log.info("phase changed", extra=about(key, phase=plan.status.get("phase") or ""))
        # Only beside a change of the status: a plan repeats its events, and after a restart none of them is news.
        for event in plan.events:
            self._recorder.record(obj, event)

    def _occupied(self, key: Key, error: OccupiedError) -> str:
        if error.passing:
            log.info("waiting for a deleted namesake's child to be collected", extra=about(key, cause=str(error)))
            self._queue.done(key, OCCUPIED_SECONDS)
        else:
            delay = self._queue.failed(key)
            log.warning("a child's name is taken", extra=about(key, cause=str(error), retry_in=round(delay, 1)))
        return "occupied"

    def _api_error(self, key: Key, error: ApiError) -> str:
        if error.namespace_ends or (error.status == 404 and error.path.endswith("/status")):
            log.info("dropped: it is being deleted", extra=about(key, cause=error.message))
            self._queue.done(key)
            return "dropped"
        if error.status == 409 and error.path.endswith("/status"):
            # Planned from what is no longer the newest; that one is about to arrive, and wakes the key by itself.
            self._queue.done(key, CONFLICT_SECONDS)
            return "conflict"
        delay = self._queue.failed(key, error.retry_after)
        extra = about(key, status=error.status, cause=str(error), retry_in=round(delay, 1))
        if error.status == 403:
            log.error(f"not allowed to {error.verb} {path_kind(error.path)}: {error.message}", extra=extra)
        elif error.status in _LATER or error.status >= 500:
            log.warning("the API server did not take it; trying again", extra=extra)
            return "retry"
        else:
            log.error("the API server refused it", extra=extra)
        entry = self._cache.entry(key)
        if entry is not None:
            about_it = {"namespace": key.namespace, "name": key.name, "uid": entry.uid}
            obj = {"apiVersion": RESOURCES[key.kind].api_version, "kind": key.kind, "metadata": about_it}
            self._recorder.record(obj, EventRecord("Warning", "ApplyFailed", error.message or str(error)))
        return "refused"


def _refusal(error: ApiError) -> State:
    passing = error.status == 403  # a quota, an admission policy or the operator's own rights
    way_out = "It is tried again by itself." if passing else "Correct the spec; it is tried again by itself."
    message = f"The API server refuses to {error.verb} {path_kind(error.path)}: {error.message} {way_out}"
    return State("Pending" if passing else "Failed", c.REFUSED, message, stalled=not passing)


def _taken(key: Key) -> State:
    message = (
        f"{key.kind} {key.name} exists and does not belong to this resource. "
        "Delete or rename it, or rename this resource; it goes on by itself then."
    )
    return State("Failed", c.NAME_TAKEN, message, stalled=True)
