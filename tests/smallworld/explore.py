"""Explores a world from its beginning: every state that its moves lead to, breadth first, each checked once.

From every state the fair schedule goes on to rest: it takes the first move that changes anything, in the order writes,
watches, reconciles, pods, collector, time. So one successor of each state is known to be on the way to rest, and the
ways of all states are walked at the end: a circle is a world that never rests.
"""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from tests.unit.controllers.world import NAMESPACE

from kaon.controllers.base import Key

from .engine import Engine
from .environment import Environment
from .mishaps import Mishaps
from .model import Model, Move, Violation, name_of
from .properties import Properties
from .rest import Rest
from .serving import Traffic
from .state import State
from .world import World

AT_REST = -1


@dataclass(frozen=True, slots=True)
class Explored:
    """What an exploration came to."""

    world: str
    states: int
    transitions: int
    depth: int
    """The longest of the shortest ways from the beginning to a state."""
    rests: int
    """States at rest, each of them as declared."""
    longest: int
    """The most steps that the fair schedule takes from any state to rest."""
    plans: int
    """Different observations that were planned."""
    exhausted: bool
    seconds: float
    """Of the processor."""

    def __str__(self) -> str:
        return (
            f"{self.world:14}{self.states:>11,}{self.transitions:>13,}{self.depth:>7}{self.rests:>8,}{self.longest:>9}"
            f"{self.plans:>9,}{self.seconds:>8.1f}  {'yes' if self.exhausted else 'NO'}"
        )


HEADER = (
    f"{'world':14}{'states':>11}{'transitions':>13}{'depth':>7}{'at rest':>8}{'to rest':>9}{'plans':>9}{'s':>8}"
    "  exhausted"
)


class Found(AssertionError):
    """A violation, and the shortest way to it."""


class Explorer:
    """One world, with everything that may happen in it."""

    def __init__(self, world: World) -> None:
        self.model = Model(world)
        self.engine = Engine(self.model)
        self.mishaps = Mishaps(self.model, self.engine)
        self.environment = Environment(self.model, self.engine)
        self.properties = Properties(self.model, self.environment)
        self.rest = Rest(self.model, self.engine.begin, undisturbed)
        self.traffic = [Traffic(self.model, key.name) for key in world.declared if key.kind == "ModelDeployment"]
        self.model.watchers += [traffic.changed for traffic in self.traffic]
        self.model.watchers.append(self.environment.deleted)

    def moves(self, state: State) -> Iterator[Move]:
        """All moves; those on the way to rest come first, and in the order of the fair schedule."""
        yield from self.engine.moves(state)
        yield from self.environment.moves(state)
        yield from self.engine.delays(state)
        yield from self.mishaps.moves(state)
        yield from self.environment.mishaps(state)

    def check(self, state: State) -> None:
        """What must hold of a state."""
        self.properties.check(state)
        for traffic in self.traffic:
            traffic.check(state)

    def explore(self, limit: int = 10**9) -> Explored:
        """Everything, or `limit` states."""
        return _Search(self).run(limit)


class _Search:
    """The bookkeeping of one exploration."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer
        self._number: dict[State, int] = {}
        self._parent = array("q")
        self._next = array("q")
        """The successor on the way to rest."""
        self._transitions = 0
        self._rests = 0

    def run(self, limit: int) -> Explored:
        started = time.process_time()
        layer, depth = [self._explorer.model.first()], -1
        self._add(layer[0], -1)
        while layer and len(self._number) < limit:
            depth += 1
            layer = [found for state in layer for found in self._expand(state)]
        return Explored(
            self._explorer.model.world.name,
            len(self._number),
            self._transitions,
            depth,
            self._rests,
            0 if layer else self._longest(),
            len(self._explorer.engine.plans),
            not layer,
            time.process_time() - started,
        )

    def _add(self, state: State, parent: int) -> int:
        number = self._number[state] = len(self._number)
        self._parent.append(parent)
        self._next.append(AT_REST)
        return number

    def _expand(self, state: State) -> list[State]:
        """The new states that one state leads to."""
        number, found = self._number[state], []
        try:
            for move in self._explorer.moves(state):
                if move.state == state or self._explorer.model.full(move.state):
                    continue
                self._transitions += 1
                known = self._number.get(move.state)
                if known is None:
                    known = self._add(move.state, number)
                    found.append(move.state)
                    self._explorer.check(move.state)
                self._explorer.properties.check_step(state, move)
                if move.progress and self._next[number] == AT_REST:
                    self._next[number] = known
            if self._next[number] == AT_REST:
                self._rests += 1
                self._explorer.rest.check(state)
        except Violation as error:
            raise Found(self._told(number, str(error), found[-1] if found else None)) from error
        return found

    def _longest(self) -> int:
        """The most steps from any state to rest. Every way must end there."""
        steps = array("q", [-1]) * len(self._next)
        for start in range(len(self._next)):
            way, at = [], start
            while at != AT_REST and steps[at] == -1:
                steps[at] = -2
                way.append(at)
                at = self._next[at]
            if at != AT_REST and steps[at] == -2:
                raise Found(self._told(at, "from here the fair schedule goes round in a circle", None))
            count = 0 if at == AT_REST else steps[at] + 1
            for count_of in reversed(way):
                steps[count_of] = count
                count += 1
        return max(steps)

    def _told(self, number: int, what: str, last: State | None) -> str:
        """The way to a state, move by move."""
        states = list(self._number)
        way = [number]
        while self._parent[way[-1]] >= 0:
            way.append(self._parent[way[-1]])
        path = [states[at] for at in reversed(way)] + ([last] if last is not None else [])
        lines = [f"{what}", f"after {len(path) - 1} steps in world {self._explorer.model.world.name}:"]
        for before, after in itertools.pairwise(path):
            move = next((move for move in self._explorer.moves(before) if move.state == after), None)
            lines.append(f"  {move.what} {move.whom}" if move else "  ?")
        return "\n".join(lines)


def undisturbed(world: World, failing: frozenset[Key]) -> tuple[Model, State]:
    """Where a world ends when all is applied at once and nothing goes wrong but the Jobs of `failing`."""
    explorer = Explorer(world)
    state = explorer.model.first()
    for key in world.declared:
        state = _taken(explorer.environment.mishaps(state), {f"{name_of(key)} to 0"}, state)
    while True:
        doomed = {name_of(Key("Job", NAMESPACE, name)) for name in _jobs_of(explorer.model, state, failing)}
        after = _taken((move for move in explorer.environment.mishaps(state) if move.what == "fail"), doomed, state)
        if after == state:
            after = next((m.state for m in explorer.moves(state) if m.progress and m.state != state), state)
        if after == state:
            return explorer.model, state
        state = after


def _taken(moves: Iterator[Move], wanted: set[str], otherwise: State) -> State:
    return next((move.state for move in moves if move.whom in wanted), otherwise)


def _jobs_of(model: Model, state: State, owners: frozenset[Key]) -> list[str]:
    facts = map(model.objects.fact, model.lane(state, "Job").api if owners else ())
    return [fact.key.name for fact in facts if fact.owner in owners]
