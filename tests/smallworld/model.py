"""What every part of a model shares: the world's bounds, the lanes, and how a change gets into them and wakes whom.

The cache's rules (kaon/engine/cache.py) are here: whom a change concerns, and that nothing old replaces anything new.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kaon.controllers.base import Key

from .objects import Objects
from .server import Server
from .state import Budget, Lane, State, with_item
from .world import World


class Move(NamedTuple):
    """A step of somebody, and where it leads. `progress`: it is part of the way to rest, and takes from no budget."""

    what: str
    whom: str
    state: State
    progress: bool = True


class Violation(AssertionError):
    """Something that must never be, was."""


class Model:
    """The shared parts, and the elementary changes of a state."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects = Objects(starts=world.starts)
        self.server = Server(self.objects)
        self.kinds = world.kinds
        self.lane_of = {kind: index for index, kind in enumerate(self.kinds)}
        self.controllers = {controller.kind: controller for controller in world.controllers}
        self.resources: tuple[Key, ...] = tuple(world.declared)
        """The resources that are reconciled; a number in State.awake is an index of this."""
        self.index_of = {key: index for index, key in enumerate(self.resources)}
        self._lanes: list[Lane] = []
        self._behind: list[int] = []
        self._lane_numbers: dict[Lane, int] = {}
        self._aged_lanes: dict[int, int] = {}
        self._references: dict[int, frozenset[Key]] = {}
        self.unique_uids = False
        """Whether no UID ever comes again, as in a real cluster: it makes for more states."""
        self._uids = itertools.count(1)
        self.watchers: list[Callable[[State, int, int], State]] = []
        """Called with (state, before, after) for each change of an object at the API server."""

    def first(self) -> State:
        """The world before anybody did anything; the operator has seen what is there."""
        contents: dict[str, list[int]] = {kind: [] for kind in self.kinds}
        for obj in (*self.world.given, *(variants[0] for variants in self.world.outside.values())):
            contents[obj["kind"]].append(self.objects.number(obj))
        lanes = [Lane(tuple(sorted(numbers)), tuple(sorted(numbers))) for numbers in contents.values()]
        left = tuple(self.world.bounds.left.get(budget, 0) for budget in Budget)
        return State(tuple(self.lane_number(lane) for lane in lanes), (), (), (), (), left)

    # -- lanes ------------------------------------------------------------------------------------------------------

    def lane_number(self, lane: Lane) -> int:
        """The number of a lane's content."""
        found = self._lane_numbers.get(lane)
        if found is None:
            found = self._lane_numbers[lane] = len(self._lanes)
            self._lanes.append(lane)
            self._behind.append(len(lane.events))
        return found

    def lane(self, state: State, kind: str) -> Lane:
        """The lane of a kind."""
        return self._lanes[state.lanes[self.lane_of[kind]]]

    def lanes(self, state: State) -> Iterable[tuple[str, Lane]]:
        """All lanes, by kind."""
        return zip(self.kinds, map(self._lanes.__getitem__, state.lanes), strict=True)

    def with_lane(self, state: State, kind: str, lane: Lane) -> State:
        """The state with another lane."""
        at, lanes = self.lane_of[kind], state.lanes
        return state._replace(lanes=(*lanes[:at], self.lane_number(lane), *lanes[at + 1 :]))

    def aged_lane(self, number: int) -> int:
        """The same lane, long after."""
        found = self._aged_lanes.get(number)
        if found is None:
            found = self._aged_lanes[number] = self.lane_number(self._aged(self._lanes[number]))
        return found

    def _aged(self, lane: Lane) -> Lane:
        aged = self.objects.aged
        return Lane(
            tuple(sorted(map(aged, lane.api))),
            tuple(sorted(map(aged, lane.seen))),
            tuple(aged(event) if event > 0 else -aged(-event) for event in lane.events),
            tuple((aged(before), aged(after)) for before, after in lane.log),
        )

    def full(self, state: State) -> bool:
        """Whether the watches are further behind than this world allows."""
        return sum(map(self._behind.__getitem__, state.lanes)) > self.world.bounds.lag

    def find(self, numbers: Iterable[int], key: Key) -> int:
        """The object with that key, or 0."""
        fact = self.objects.fact
        return next((number for number in numbers if fact(number).key == key), 0)

    # -- changes at the API server ------------------------------------------------------------------------------------

    def change(self, state: State, before: int, after: int) -> State:
        """An object changes, comes or goes (0), and the watch has yet to tell the operator."""
        if before == after:
            return state
        kind = self.objects.fact(after or before).key.kind
        lane = self.lane(state, kind)
        lane = self._changed(state, lane, before, after)
        lane = lane._replace(events=(*lane.events, after or -before))
        return self._watched(self.with_lane(state, kind, lane), before, after)

    def change_by_operator(self, state: State, before: int, after: int, author: int) -> State:
        """The same, done by the operator: the answer puts it into the cache, and what is older has no effect any more.

        author: the resource whose reconcile did it, which needs no wakening; -1: none (a deletion).
        """
        key = self.objects.fact(after or before).key
        if before == after:
            return self.put(self.wrote(state, after, author), after, author)
        lane = self._changed(state, self.lane(state, key.kind), before, after)
        state = self._watched(self.with_lane(state, key.kind, lane), before, after)
        if not after:
            return self.remove(state, before)
        lane = self.lane(state, key.kind)
        marked = self.with_lane(state, key.kind, lane._replace(events=(*lane.events, after)))
        return self.put(self.wrote(marked, after, author), after, author)

    def wrote(self, state: State, number: int, author: int) -> State:
        """The API server has answered a reconcile with this object: its watch has to bring whatever was before it.

        Not of a resource itself: its events come in order for each object only.
        """
        kind = self.objects.fact(number).key.kind
        events = self.lane(state, kind).events
        if author < 0 or kind in self.controllers or number not in events:
            return state
        at = len(events) - 1 - events[::-1].index(number)
        most = max([at, *(count for index, other, count in state.unseen if (index, other) == (author, kind))])
        return self._with_unseen(state, {(author, kind): most})

    @staticmethod
    def _with_unseen(state: State, changed: dict[tuple[int, str], int]) -> State:
        counts = {(index, kind): count for index, kind, count in state.unseen} | changed
        return state._replace(unseen=tuple(sorted((*key, count) for key, count in counts.items() if count > 0)))

    def _without_events(self, state: State, kind: str, gone: list[int]) -> State:
        """After events at these places of a lane were left out, or brought."""
        mine = {(index, kind): count for index, other, count in state.unseen if other == kind}
        fewer = {key: count - sum(at < count for at in gone) for key, count in mine.items()}
        return self._with_unseen(state, fewer) if mine else state

    def _changed(self, state: State, lane: Lane, before: int, after: int) -> Lane:
        api = tuple(sorted({*lane.api, after} - {before, 0}))
        lag = self.world.bounds.standby_lag if state.left[Budget.CRASH] else 0
        return lane._replace(api=api, log=(*lane.log, (before, after))[-lag:] if lag else ())

    def _watched(self, state: State, before: int, after: int) -> State:
        for watcher in self.watchers:
            state = watcher(state, before, after)
        return state

    # -- changes of the cache -----------------------------------------------------------------------------------------

    def put(self, state: State, number: int, author: int = -1) -> State:
        """The cache takes in an answer: the newest there is of this object."""
        key = self.objects.fact(number).key
        lane = self.lane(state, key.kind)
        gone = [at for at, event in enumerate(lane.events) if self.objects.fact(abs(event)).key == key]
        state = self._without_events(state, key.kind, gone)
        events = tuple(event for at, event in enumerate(lane.events) if at not in gone)
        return self._seen(state, lane._replace(events=events), key, number, author)

    def remove(self, state: State, number: int) -> State:
        """The cache hears that the object with this UID is gone."""
        fact = self.objects.fact(number)
        lane = self.lane(state, fact.key.kind)
        gone = [at for at, event in enumerate(lane.events) if self.objects.fact(abs(event)).uid == fact.uid]
        state = self._without_events(state, fact.key.kind, gone)
        events = tuple(event for at, event in enumerate(lane.events) if at not in gone)
        lane = lane._replace(events=events)
        seen = self.find(lane.seen, fact.key)
        if not seen or self.objects.fact(seen).uid != fact.uid:
            return self.with_lane(state, fact.key.kind, lane)
        return self._seen(state, lane, fact.key, 0, -1)

    def deliver(self, state: State, kind: str) -> State:
        """The watch of a kind brings its next event."""
        lane = self.lane(state, kind)
        event, *rest = lane.events
        lane = lane._replace(events=tuple(rest))
        state = self._without_events(state, kind, [0])
        key = self.objects.fact(abs(event)).key
        return self._seen(state, lane, key, max(event, 0), -1)

    def _seen(self, state: State, lane: Lane, key: Key, number: int, author: int) -> State:
        old = self.find(lane.seen, key)
        if old == number:
            return self.with_lane(state, key.kind, lane)
        if old and number and self.objects.fact(old).uid != self.objects.fact(number).uid:
            author = -1  # the cache takes the old one out first, which is news to the author too
        seen = tuple(sorted({*lane.seen, number} - {old, 0}))
        state = self.with_lane(state, key.kind, lane._replace(seen=seen))
        for concerned in self._concerned(state, number or old):
            if concerned != author:
                state = self.wake(state, concerned)
        return state

    def _concerned(self, state: State, number: int) -> list[int]:
        fact = self.objects.fact(number)
        if fact.key in self.index_of:
            return [self.index_of[fact.key], *self._readers(state, fact.key)]
        if fact.key in self.world.outside:
            return self._readers(state, fact.key)
        if fact.owner is not None:
            return [self.index_of[fact.owner]] if fact.owner in self.index_of else []
        return [self.index_of[key] for key in self.resources if self.find(self.lane(state, key.kind).seen, key)]

    def _readers(self, state: State, key: Key) -> list[int]:
        return [
            index
            for index, resource in enumerate(self.resources)
            if (seen := self.find(self.lane(state, resource.kind).seen, resource)) and key in self.references(seen)
        ]

    def references(self, number: int) -> frozenset[Key]:
        """What a resource refers to."""
        found = self._references.get(number)
        if found is None:
            obj = self.objects[number]
            found = self._references[number] = self.controllers[obj["kind"]].references(obj)
        return found

    @staticmethod
    def wake(state: State, index: int) -> State:
        """A resource is queued."""
        return state if index in state.awake else state._replace(awake=with_item(state.awake, index))

    def wake_all(self, state: State) -> State:
        """Everything that the cache holds was listed just now."""
        found = {
            index for _, lane in self.lanes(state) for number in lane.seen for index in self._concerned(state, number)
        }
        return state._replace(awake=tuple(sorted(found)))

    # -- other --------------------------------------------------------------------------------------------------------

    def fresh_uid(self, state: State, key: Key) -> str:
        """A UID that nothing still known of an object with this key bears. UIDs matter only by being equal or not."""
        if self.unique_uids:
            return f"{key.kind}.{key.name}.{next(self._uids)}"
        lane = self.lane(state, key.kind)
        known = {*lane.api, *lane.seen, *(abs(event) for event in lane.events), *(n for pair in lane.log for n in pair)}
        known |= {number for flight in state.flights for number in (*flight.prunes, flight.owner)}
        taken = {fact.uid for number in known if number and (fact := self.objects.fact(number)).key == key}
        if key in self.index_of:
            # Its children bear the UID too.
            taken |= {self.objects.fact(number).owner_uid for _, each in self.lanes(state) for number in _all(each)}
        numbers = (f"{key.kind}.{key.name}.{number}" for number in range(1, 100))
        return next(uid for uid in numbers if uid not in taken)


def _all(lane: Lane) -> set[int]:
    numbers = {*lane.api, *lane.seen, *(abs(event) for event in lane.events)}
    return (numbers | {number for pair in lane.log for number in pair}) - {0}


def name_of(key: Key) -> str:
    """A key as a trace tells it."""
    return f"{key.kind}/{key.name}"
