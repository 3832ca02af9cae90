"""The real engine, in lock-step with the model: after every move both must have seen, decided and queued the same.

Reconciler, Applier and Cache are the operator's own. Their requests wait here until the model makes that move; the
answers are made from the model's state. So a walk through a world is at once a test that the model is faithful.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from kaon.controllers.base import Key, Object
from kaon.controllers.registry import CONTROLLERS
from kaon.engine import apply as applying
from kaon.engine import ownwrites
from kaon.engine import pace as pacing
from kaon.engine import reconcile as reconciling
from kaon.engine.apply import Applier
from kaon.engine.cache import Cache
from kaon.engine.client import ApiError
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.reconcile import Reconciler
from kaon.engine.slim import Entry, slim

from . import standins
from .engine import Engine
from .model import Model, Move, name_of
from .objects import canonical
from .standins import Differs, Request
from .state import Flight, State


class Mirror:
    """One operator process after another, each the real one."""

    def __init__(self, model: Model, engine: Engine, patch: Any) -> None:
        """patch: pytest's monkeypatch, or whatever else has its setattr."""
        self._model = model
        self._engine = engine
        clock = standins.Clock()
        patch.setattr(reconciling, "datetime", clock)
        patch.setattr(applying, "time", clock)
        patch.setattr(pacing, "time", clock)
        self._patience = standins.Still()
        patch.setattr(ownwrites, "time", self._patience)
        self._version = 0
        self._versions: dict[int, int] = {}
        """The version at which an object last had a content."""
        self._events: dict[str, list[tuple[int, int]]] = {kind: [] for kind in model.kinds}
        """(event, version) of all that the watch has not brought yet."""
        first = model.first()
        for _, lane in model.lanes(first):
            for number in lane.api:
                self._stamp(number)
        self._start(first)

    # -- following --------------------------------------------------------------------------------------------------

    def follow(self, before: State, move: Move) -> None:
        """Do what a move does, and compare.

        Raises:
            Differs: the real engine does not stand where the model stands after it.
        """
        match move.what:
            case "see":
                self._see(before, move.whom)
            case "reconcile":
                self._reconcile(before, next(key for key in self._model.resources if name_of(key) == move.whom))
            case "crash":
                self._start(move.state)
            case "time":
                self._age(move.state)
            case "lose patience":
                self._lose_patience(next(key for key in self._model.resources if name_of(key) == move.whom))
            case _:
                self._happen(before, move)
        self._bring_without_effect(move.state)
        self._compare(move.state)

    def permits(self, move: Move) -> bool:
        """Whether the real engine is about to make a move, where the model leaves it the choice."""
        if move.what == "put off status":
            return False  # this engine's clock is such that none is
        wanted = {name_of(request.key) for _, request in self._running.values()}
        return move.what not in ("prune", "lose request", "lose answer") or move.whom in wanted

    def _start(self, state: State) -> None:
        """A new process; the one before has no more say."""
        for running, _ in getattr(self, "_running", {}).values():
            running.close()
        self._running: dict[Key, tuple[Coroutine[Any, Any, None], Request]] = {}
        controllers = {controller.kind: controller for controller in CONTROLLERS}
        self._queue = standins.Queue()
        self._cache = Cache(controllers, self._queue.add)
        self._own = OwnWrites(self._queue.add)
        client: Any = standins.Client()
        self._reconciler = Reconciler(
            controllers,
            self._model.world.config,
            self._cache,
            self._queue,  # type: ignore[arg-type]
            Applier(client, self._cache, self._own),
            self._own,
            standins.Recorder(),  # type: ignore[arg-type]
            frozenset,
        )
        for kind, lane in self._model.lanes(state):
            self._events[kind] = [(event, self._versions[abs(event)]) for event in lane.events]
            for number in lane.seen:
                self._cache.put(self._object(number, self._versions[number]))

    def _see(self, before: State, kind: str) -> None:
        """The watch brings events up to the one that the model sees: the model left out what has no effect."""
        waiting, at = self._events[kind], len(self._events[kind])
        for event in reversed(self._model.lane(before, kind).events):
            at = next((i for i in range(at - 1, -1, -1) if waiting[i][0] == event), -1)
        if at < 0:
            raise Differs(f"the model sees an event of {kind} that never was")
        self._bring(kind, at + 1)

    def _bring(self, kind: str, count: int) -> None:
        """The watch of a kind brings its next events."""
        waiting = self._events[kind]
        for event, version in waiting[:count]:
            fact = self._model.objects.fact(abs(event))
            if event < 0:
                self._cache.remove(fact.key, fact.uid)
            else:
                self._cache.put(self._object(event, version))
            if kind in self._model.controllers:
                self._own.saw(self._object(abs(event), version))
            else:
                self._own.reached(kind, None, version)
        del waiting[:count]

    def _bring_without_effect(self, state: State) -> None:
        """Events that the model has left out, since the cache knows better already, come as soon as they can."""
        for kind, lane in self._model.lanes(state):
            waiting, known = self._events[kind], []
            at = len(waiting)
            for event in reversed(lane.events):
                at = next((i for i in range(at - 1, -1, -1) if waiting[i][0] == event), 0)
                known.append(at)
            if kind in self._model.controllers:
                # Their events come in order for each object only: those of another object hold none of these up.
                for place, (event, version) in enumerate(waiting):
                    if place not in known:
                        self._own.saw(self._object(abs(event), version))
            self._bring(kind, at)

    def _lose_patience(self, key: Key) -> None:
        """Time passes for what one resource waits for."""
        self._patience.seconds += ownwrites.PATIENCE_SECONDS + 1
        if self._own.wait_for(key) is not None:
            raise Differs(f"{name_of(key)} waits on")
        self._patience.seconds -= ownwrites.PATIENCE_SECONDS + 1

    def _reconcile(self, before: State, key: Key) -> None:
        self._queue.keys.discard(key)
        self._go_on(key, self._reconciler.once(key), None)
        for owner, doubtful in before.doubts:
            if self._model.resources[owner] == key:
                request = self._running[key][1]
                if (request.verb, request.key) != ("get", doubtful):
                    raise Differs(f"{name_of(key)} does not look up {name_of(doubtful)} before it plans")
                self._answer_get(before, key)
        while key in self._running and self._looks_up(self._running[key][1]):
            self._answer_get(before, key)

    def _answer_get(self, state: State, owner: Key) -> None:
        """What a reconcile asks to read, as it is at the API server."""
        running, request = self._running.pop(owner)
        there = self._there(state, request.key)
        self._go_on(owner, running, self._found(there) if there else self._error(request, 404))

    @staticmethod
    def _looks_up(request: Request) -> bool:
        """Whether a plan is unsure of it. What is applied is read too, before that; a Report never is applied."""
        return request.verb == "get" and request.key.kind == "Report"

    def _age(self, state: State) -> None:
        """Everything is older. No clock is moved: the same is written into the cache, as it was long ago."""
        for kind in self._model.kinds:
            for key in self._cache.keys(kind):
                entry = self._cache.entry(key)
                if entry is not None:
                    aged = self._model.objects.aged(self._model.objects.number(entry.obj))
                    self._versions[aged] = entry.version
                    self._cache._entries[kind][key] = Entry(self._object(aged, entry.version))
            self._events[kind] = [(self._older(event), version) for event, version in self._events[kind]]
        for number, version in list(self._versions.items()):
            aged = self._model.objects.aged(number)
            self._versions[aged] = max(version, self._versions.get(aged, 0))

    def _older(self, event: int) -> int:
        return self._model.objects.aged(event) if event > 0 else -self._model.objects.aged(-event)

    def _happen(self, before: State, move: Move) -> None:
        """A write of the engine, or something that only the API server hears of at first."""
        change = self._change(before, move.state)
        if change is not None:
            old, new = change
            self._version += 1
            if new:
                self._stamp(new)
            kind = self._model.objects.fact(new or old).key.kind
            self._events[kind].append((new or -old, self._version))
        flight = next((flight for flight in before.flights if flight not in move.state.flights), None)
        if flight is not None and move.what not in NOT_OF_THE_ENGINE:
            self._answer(before, move, self._model.objects.fact(flight.owner).key)

    def _change(self, before: State, after: State) -> tuple[int, int] | None:
        """(before, after) of the one object that changed at the API server."""
        for kind in self._model.kinds:
            old, new = set(self._model.lane(before, kind).api), set(self._model.lane(after, kind).api)
            if old != new:
                return next(iter(old - new), 0), next(iter(new - old), 0)
        return None

    # -- answering ----------------------------------------------------------------------------------------------------

    def _answer(self, before: State, move: Move, owner: Key) -> None:
        running, request = self._running.pop(owner)
        if move.what in ("lose request", "lose answer"):
            self._go_on(owner, running, self._error(request, 0))
            return
        there = self._there(before, request.key)
        if request.verb == "get":
            # The object is looked at before it is applied over, which the model does at once.
            self._go_on(owner, running, self._found(there) if there else self._error(request, 404))
            if owner not in self._running or move.what == "look up":
                return
            running, request = self._running.pop(owner)
        match request.verb:
            case "create" if there:
                self._go_on(owner, running, self._error(request, 409, "AlreadyExists"))
                running, request = self._running.pop(owner)
                self._go_on(owner, running, self._found(there))
            case "delete":
                same = there and self._model.objects.fact(there).uid == request.body
                self._go_on(owner, running, {"kind": "Status"} if same else self._error(request, 409 if there else 404))
            case "replace":
                self._go_on(owner, running, self._status_answer(move, request, there))
            case _:
                now = self._there(move.state, request.key)
                answer = self._found(now) if now else self._error(request, 422)
                self._go_on(owner, running, answer)

    def _status_answer(self, move: Move, request: Request, there: int) -> Object | ApiError:
        if not there:
            return self._error(request, 404)
        newest = str(self._versions[there]) == request.body["metadata"]["resourceVersion"]
        if newest != (move.what == "status"):
            raise Differs(f"{move.what} {move.whom}, and the version in the request says otherwise")
        now = self._there(move.state, request.key)
        return self._found(now) if newest else self._error(request, 409, "Conflict")

    def _go_on(self, owner: Key, running: Coroutine[Any, Any, None], answer: Object | ApiError | None) -> None:
        """Give an answer, or begin with None; keep what is asked next."""
        try:
            asked = running.throw(answer) if isinstance(answer, ApiError) else running.send(answer)
        except StopIteration:
            return
        self._running[owner] = running, asked

    @staticmethod
    def _error(request: Request, status: int, reason: str = "") -> ApiError:
        return ApiError(request.verb, request.path, status, {"reason": reason, "message": "no"})

    # -- comparing ----------------------------------------------------------------------------------------------------

    def _compare(self, state: State) -> None:
        for kind, lane in self._model.lanes(state):
            numbers = self._model.objects
            seen = sorted(numbers.number(self._cache.get(key)) for key in self._cache.keys(kind))
            if seen != sorted(numbers.number(slim(numbers[number])) for number in lane.seen):
                raise Differs(f"the cache of {kind} holds {seen}, the model's {lane.seen}, which it keeps in part")
        awake = {self._model.resources[index] for index in state.awake}
        if self._queue.keys & set(self._model.resources) != awake:
            raise Differs(f"queued are {self._queue.keys}, in the model {awake}")
        waiting = {self._model.resources[index] for index, _, _ in state.unseen}
        if waiting != {key for key in self._model.resources if self._own.waits(key)}:
            raise Differs(f"in the model {waiting} wait for their own writes, and not here, or the other way round")
        flights = {self._model.objects.fact(flight.owner).key: flight for flight in state.flights}
        if flights.keys() != self._running.keys():
            raise Differs(f"under way are {self._running.keys()}, in the model {flights.keys()}")
        for key, flight in flights.items():
            self._compare_request(key, flight, self._running[key][1])

    def _compare_request(self, owner: Key, flight: Flight, request: Request) -> None:
        verb, key, body = self._engine.pending(flight)
        asked = "status" if request.about_status else request.verb
        if verb == "apply" and asked == "get" and flight.blind:
            return
        if verb == asked == "delete" and request.key in self._prunes(flight):
            return
        if (asked, request.key) != (verb, key):
            raise Differs(f"{name_of(owner)} wants to {asked} {request.key}, in the model to {verb} {key}")
        sent = request.body["status"] if request.about_status else request.body
        if canonical(sent) != canonical(body) and "Refused" not in str(body):
            raise Differs(f"{name_of(owner)} sends {sent}, in the model {body}")

    def _prunes(self, flight: Flight) -> set[Key]:
        return {self._model.objects.fact(number).key for number in flight.prunes}

    # -- parts --------------------------------------------------------------------------------------------------------

    def _there(self, state: State, key: Key) -> int:
        return self._model.find(self._model.lane(state, key.kind).api, key)

    def _stamp(self, number: int) -> None:
        self._version += 1
        self._versions[number] = self._version

    def _found(self, number: int) -> Object:
        return self._object(number, self._versions[number])

    def _object(self, number: int, version: int) -> Object:
        made: Object = self._model.objects.copy(number)
        made["metadata"]["resourceVersion"] = str(version)
        return made


NOT_OF_THE_ENGINE = frozenset({"user edits", "user applies", "outside changes", "fail"})
