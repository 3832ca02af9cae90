"""What may happen to the operator itself: it dies between two writes, and a write fails, with or without effect."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .engine import Engine
from .model import Model, Move, name_of
from .state import Budget, Flight, Lane, State, spent


class Mishaps:
    """Crashes and failed writes, as far as the budget goes."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self._model = model
        self._engine = engine

    def moves(self, state: State) -> Iterator[Move]:
        """Every one that may come next."""
        if state.left[Budget.FAULT]:
            for flight in state.flights:
                for chosen in self._engine.choices(flight):
                    yield from self._faults(state, chosen)
            yield from self._hangs(state)
        if state.left[Budget.CRASH]:
            yield from self._crashes(state)

    def _hangs(self, state: State) -> Iterator[Move]:
        """A watch does not bring what is waited for, and the wait is given up."""
        for index in sorted({index for index, _, _ in state.unseen}):
            rest = tuple(item for item in state.unseen if item[0] != index)
            after = state._replace(unseen=rest, left=spent(state, Budget.FAULT))
            yield Move("lose patience", name_of(self._model.resources[index]), after, progress=False)

    def _faults(self, state: State, flight: Flight) -> Iterator[Move]:
        """The write does not arrive; or it does, and its answer does not."""
        failed = self._engine.end(state._replace(left=spent(state, Budget.FAULT)), flight, again=True)
        verb, key, _ = self._engine.pending(flight)
        if verb != "status":
            owner = self._model.index_of[self._model.objects.fact(flight.owner).key]
            failed = failed._replace(doubts=tuple(sorted({*failed.doubts, (owner, key)})))
        yield Move("lose request", name_of(key), failed, progress=False)
        change = self._change(state, flight)
        if change is not None:
            yield Move("lose answer", name_of(key), self._model.change(failed, *change), progress=False)

    def _change(self, state: State, flight: Flight) -> tuple[int, int] | None:
        """(before, after) of what a write does at the API server; None where that does nothing."""
        planned = self._engine.plans[flight.plan]
        _, key, _ = self._engine.pending(flight)
        there, fact = self._model.find(self._model.lane(state, key.kind).api, key), self._model.objects.fact
        if flight.step == planned.telling:
            allowed = there and self._engine.may_write_status(there, flight.owner)
            return (there, self._model.server.with_status(there, planned.status)) if allowed else None
        if flight.step == planned.pruning:
            return (there, 0) if there and fact(there).uid == fact(flight.prunes[0]).uid else None
        step = planned.steps[flight.step]
        if there and step.owned and fact(there).owner_uid != fact(flight.owner).uid:
            return None
        before, after = self._engine.effect(state, step)
        return (before, after) if after else None

    def _crashes(self, state: State) -> Iterator[Move]:
        """The next process has listed everything, or has watched until some changes ago, for each kind another."""
        kinds, lanes = zip(*self._model.lanes(state), strict=True)
        left = spent(state, Budget.CRASH)
        for taken in itertools.product(*map(self._taken_over, lanes)):
            after = state._replace(flights=(), awake=(), late=(), doubts=(), unseen=(), left=left)
            for kind, lane in zip(kinds, taken, strict=True):
                after = self._model.with_lane(after, kind, lane if left[Budget.CRASH] else lane._replace(log=()))
            behind = [
                f"{kind} {len(lane.events)} behind" for kind, lane in zip(kinds, taken, strict=True) if lane.events
            ]
            yield Move("crash", ", ".join(behind), self._model.wake_all(after), progress=False)

    def _taken_over(self, lane: Lane) -> list[Lane]:
        found = [lane._replace(seen=lane.api, events=())]
        seen: set[int] = set(lane.api)
        events: tuple[int, ...] = ()
        for before, after in reversed(lane.log):
            seen = (seen - {after}) | ({before} - {0})
            events = (after or -before, *events)
            found.append(lane._replace(seen=tuple(sorted(seen)), events=events))
        return found
