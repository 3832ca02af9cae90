"""The engine around the controllers, one write at a time: plan from what is seen, write, be answered.

A model of kaon/engine/{reconcile,apply}.py; mirror.py holds the real ones against it.
"""

from __future__ import annotations

from collections.abc import Iterator

from kaon.api import conditions as c
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import State as Standing
from kaon.controllers.conditions import is_true, refused
from kaon.engine.apply import _news as news
from kaon.engine.resources import RESOURCES

from .model import Model, Move, name_of
from .objects import NOW
from .planning import Planned, Planner, Step
from .state import Flight, State, with_item, without


class Engine:
    """What the operator may do next."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._objects = model.objects
        self.plans = Planner(model)

    def moves(self, state: State) -> Iterator[Move]:
        """Every next step of the operator: the writes that are decided first, then watches, then new reconciles."""
        for flight in state.flights:
            for chosen in self.choices(flight):
                yield self._write(state, chosen)
        for kind, lane in self._model.lanes(state):
            if lane.events:
                yield Move("see", kind, self._model.deliver(state, kind))
        if len(state.flights) < self._model.world.bounds.workers:
            busy = {self._index(flight) for flight in state.flights}
            for index in state.awake:
                if index not in busy and self.may_plan(state, index):
                    yield Move("reconcile", name_of(self._model.resources[index]), self.begin(state, index))

    @staticmethod
    def may_plan(state: State, index: int) -> bool:
        """Whether the watches have brought what was before the last writes for a resource."""
        return all(other != index for other, _, _ in state.unseen)

    def delays(self, state: State) -> Iterator[Move]:
        """A status may be written later, from a later plan: one without news, and the first words on a resource."""
        for flight in state.flights:
            planned = self.plans[flight.plan]
            if flight.step == planned.telling and self._may_wait(flight.owner, self._objects[planned.status]):
                ended = self.end(state, flight, again=True)
                late = with_item(state.late, self._index(flight))
                whom = name_of(self._model.resources[self._index(flight)])
                yield Move("put off status", whom, ended._replace(late=late), progress=False)

    def _may_wait(self, owner: int, status: Object) -> bool:
        if not self._news(owner, status):
            return True
        return not self._status_of(owner) and is_true({**self._objects[owner], "status": status}, c.RECONCILING)

    def choices(self, flight: Flight) -> Iterator[Flight]:
        """A reconcile as it is decided; what is pruned is pruned in any order."""
        if not flight.prunes:
            yield flight
        for target in flight.prunes:
            yield flight._replace(prunes=(target, *without(flight.prunes, target)))

    def pending(self, flight: Flight) -> tuple[str, Key, object]:
        """(verb, object, content) of the write that a reconcile is about to do."""
        planned = self.plans[flight.plan]
        if flight.step == planned.telling:
            return "status", self._objects.fact(flight.owner).key, self._objects[planned.status]
        if flight.step == planned.pruning:
            return "delete", self._objects.fact(flight.prunes[0]).key, None
        step = planned.steps[flight.step]
        return step.mode, step.key, self._objects[step.wanted]

    # -- deciding the next write --------------------------------------------------------------------------------------

    def begin(self, state: State, index: int) -> State:
        """A worker takes a resource and plans. Where there is nothing to write, it is done."""
        key = self._model.resources[index]
        state = self._without_doubts(state._replace(awake=without(state.awake, index)), index)
        owner = self._model.find(self._model.lane(state, key.kind).seen, key)
        if not owner:
            return state
        state = self._looked_up(state, self.plans[self.plans.plan(state, owner)].look_up, index)
        return self._next(state, Flight(owner, self.plans.plan(state, owner), 0))

    def _without_doubts(self, state: State, index: int) -> State:
        """What became of writes that had no answer is read before anything is planned."""
        mine = tuple(key for owner, key in state.doubts if owner == index)
        state = self._looked_up(state, mine, index)
        return state._replace(doubts=tuple(doubt for doubt in state.doubts if doubt[0] != index)) if mine else state

    def _looked_up(self, state: State, keys: tuple[Key, ...], index: int) -> State:
        """What the watches have not brought yet of some objects is read."""
        for key in keys:
            lane = self._model.lane(state, key.kind)
            there, seen = self._model.find(lane.api, key), self._model.find(lane.seen, key)
            if there:
                state = self._model.put(state, there, index)
            elif seen:
                state = self._model.remove(state, seen)
        return state

    def _next(self, state: State, flight: Flight) -> State:
        """To the next write of a reconcile, as the cache is now, or to its end."""
        planned = self.plans[flight.plan]
        for step in range(flight.step, len(planned.steps)):
            need = self._needs(state, flight, planned.steps[step])
            if need is None:
                return self.end(state, flight, again=True)
            if need:
                blind = not self._seen(state, planned.steps[step])
                return self._airborne(state, flight._replace(step=step, blind=blind))
        flight = flight._replace(blind=False)
        if flight.step < planned.pruning:
            prunes = self._prunes(state, flight, planned)
            flight = flight._replace(step=planned.pruning, prunes=prunes)
        if flight.prunes:
            return self._airborne(state, flight)
        if self._status_of(flight.owner) != self._objects[planned.status]:
            return self._airborne(state, flight._replace(step=planned.telling))
        state = state._replace(late=without(state.late, self._index(flight)))
        return self.end(state, flight, again=planned.again)

    def _needs(self, state: State, flight: Flight, step: Step) -> bool | None:
        """Whether a child must be written; None when its name belongs to another owner."""
        seen = self._seen(state, step)
        if seen and step.owned and self._is_anothers(flight, seen):
            return None
        if not seen:
            return step.mode != "keep"
        return step.mode == "apply" and not self._model.server.satisfied(step.wanted, seen)

    def _seen(self, state: State, step: Step) -> int:
        return self._model.find(self._model.lane(state, step.key.kind).seen, step.key)

    def _is_anothers(self, flight: Flight, child: int) -> bool:
        return self._objects.fact(child).owner_uid != self._objects.fact(flight.owner).uid

    def _prunes(self, state: State, flight: Flight, planned: Planned) -> tuple[int, ...]:
        wanted = {step.key for step in planned.steps}
        return tuple(
            number
            for number in sorted(self.plans.seen_children(state))
            if not self._is_anothers(flight, number)
            and (key := self._objects.fact(number).key) not in wanted
            and RESOURCES[key.kind].managed
        )

    def _airborne(self, state: State, flight: Flight) -> State:
        return state._replace(flights=tuple(sorted((*self._others(state, flight), flight))))

    def _others(self, state: State, flight: Flight) -> list[Flight]:
        index = self._index(flight)
        return [other for other in state.flights if self._index(other) != index]

    def end(self, state: State, flight: Flight, *, again: bool) -> State:
        """A reconcile is over."""
        state = state._replace(flights=tuple(self._others(state, flight)))
        return self._model.wake(state, self._index(flight)) if again or flight.wrote else state

    def _index(self, flight: Flight) -> int:
        return self._model.index_of[self._objects.fact(flight.owner).key]

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, state: State, flight: Flight) -> Move:
        planned = self.plans[flight.plan]
        if flight.step == planned.telling:
            return self._write_status(state, flight, planned)
        if flight.step == planned.pruning:
            return self._delete(state, flight)
        return self._write_child(state, flight, planned)

    def _write_child(self, state: State, flight: Flight, planned: Planned) -> Move:
        step = planned.steps[flight.step]
        before, after = self.effect(state, step)
        whom, author = name_of(step.key), self._index(flight)
        following = flight._replace(step=flight.step + 1, wrote=True)
        if before and step.owned and self._is_anothers(flight, before):
            return Move("find another's", whom, self.end(state, flight, again=True))
        if before and step.mode == "create":
            # It exists already: it is read, and known to be ours. The plan knew nothing of it, and is made anew.
            state = self._model.put(self._model.wrote(state, before, author), before, author)
            return Move(
                "find", whom, self.end(state, flight, again=True) if step.owned else self._next(state, following)
            )
        if step.mode == "apply" and flight.blind and step.owned:
            seen = self._seen(state, step)
            if seen and self._model.server.satisfied(step.wanted, seen):
                # It came into sight meanwhile.
                return Move("look up", whom, self._next(state, following._replace(wrote=flight.wrote)))
        if not after:
            return Move("be refused", whom, self._refused(state, flight, planned))
        state = self._model.change_by_operator(state, before, after, author)
        return Move(step.mode, whom, self._next(state, following))

    def effect(self, state: State, step: Step) -> tuple[int, int]:
        """(before, after) of a child's write at the API server; after is 0 where nothing is to be changed."""
        server = self._model.server
        before = self._model.find(self._model.lane(state, step.key.kind).api, step.key)
        if not before:
            return 0, server.created(step.wanted, self._model.fresh_uid(state, step.key))
        return before, server.applied(step.wanted, before) if step.mode == "apply" else 0

    def _refused(self, state: State, flight: Flight, planned: Planned) -> State:
        """The API server will not have a child: the status says so, if that is news, and it is tried again."""
        owner, status = self._objects[flight.owner], self._objects[planned.status]
        told = Standing("Failed", c.REFUSED, "The API server refuses it.", stalled=True)
        said = refused(status, owner.get("status", {}), told, owner["metadata"]["generation"], NOW)
        if not self._news(flight.owner, said):
            return self.end(state, flight, again=True)
        telling = Planned((), self._objects.number(said), True)
        return self._airborne(state, flight._replace(plan=self.plans.number(telling), step=telling.telling))

    def _status_of(self, owner: int) -> Object:
        found: Object = self._objects[owner].get("status", {})
        return found

    def _news(self, owner: int, status: Object) -> bool:
        """Whether a status must be written at once; progress may wait."""
        return news(self._status_of(owner)) != news(status)

    def _delete(self, state: State, flight: Flight) -> Move:
        target, *rest = flight.prunes
        fact = self._objects.fact(target)
        there = self._model.find(self._model.lane(state, fact.key.kind).api, fact.key)
        if there and self._objects.fact(there).uid == fact.uid:
            state = self._model.change_by_operator(state, there, 0, -1)
        else:
            state = self._model.remove(state, target)
        flight = flight._replace(prunes=tuple(sorted(rest)), wrote=True)
        return Move("prune", name_of(fact.key), self._next(state, flight))

    def _write_status(self, state: State, flight: Flight, planned: Planned) -> Move:
        key, index = self._objects.fact(flight.owner).key, self._index(flight)
        there = self._model.find(self._model.lane(state, key.kind).api, key)
        state = state._replace(late=without(state.late, index))
        if not there:
            return Move("find deleted", name_of(key), state._replace(flights=tuple(self._others(state, flight))))
        if not self.may_write_status(there, flight.owner):
            return Move("conflict", name_of(key), self.end(state, flight, again=True))
        after = self._model.server.with_status(there, planned.status)
        state = self._model.change_by_operator(state, there, after, index)
        return Move("status", name_of(key), self.end(state, flight, again=True))

    def may_write_status(self, there: int, planned_from: int) -> bool:
        """The resource version in the request: only what the status was planned from takes it."""
        return there == planned_from
