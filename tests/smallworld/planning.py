"""Plans as the controllers make them, each asked for once for each observation, and held against their promises.

A plan is asked for twice and must be the same; it must not raise and not change what it was shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kaon.controllers.base import Child, Key, Observed, Plan, key_of

from .model import Model, Violation, name_of
from .objects import NOW
from .state import Flight, State


class Step(NamedTuple):
    """One child of a plan."""

    key: Key
    wanted: int
    """The content that is sent."""
    mode: str
    """That of Child."""
    owned: bool


class Planned(NamedTuple):
    """A plan in numbers."""

    steps: tuple[Step, ...]
    status: int
    again: bool
    """Whether it asks to be looked at again."""
    look_up: tuple[Key, ...] = ()
    """What is read before it is made once more and carried out."""

    @property
    def pruning(self) -> int:
        """The value of Flight.step while what left the plan is pruned."""
        return len(self.steps) + 1

    @property
    def telling(self) -> int:
        """The value of Flight.step when only the status is left to write."""
        return len(self.steps) + 2


class _Around(NamedTuple):
    """What a resource's controller is shown beside the resource."""

    children: tuple[int, ...]
    references: tuple[int, ...]
    occupied: frozenset[Key]


class Planner:
    """Plans by number."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._objects = model.objects
        self._plans: list[Planned] = []
        self._numbers: dict[Planned, int] = {}
        self._asked: dict[tuple[int, _Around], int] = {}
        self._aged: dict[Flight, Flight] = {}

    def __getitem__(self, number: int) -> Planned:
        return self._plans[number]

    def __len__(self) -> int:
        """How many different observations there were."""
        return len(self._asked)

    def number(self, planned: Planned) -> int:
        """The number of a plan."""
        found = self._numbers.get(planned)
        if found is None:
            found = self._numbers[planned] = len(self._plans)
            self._plans.append(planned)
        return found

    def plan(self, state: State, owner: int) -> int:
        """The number of the plan for a resource, as it and everything around it is seen."""
        asked = owner, self._around(state, owner)
        found = self._asked.get(asked)
        if found is None:
            found = self._asked[asked] = self._plan(*asked)
        return found

    def seen_children(self, state: State) -> Iterable[int]:
        """All objects in the cache that are no custom resources."""
        controllers, outside = self._model.controllers, self._model.world.outside
        for kind, lane in self._model.lanes(state):
            if kind not in controllers:
                yield from (number for number in lane.seen if self._objects.fact(number).key not in outside)

    def aged(self, flight: Flight) -> Flight:
        """A reconcile, long after it began."""
        found = self._aged.get(flight)
        if found is None:
            found = self._aged[flight] = self._older(flight)
        return found

    def _older(self, flight: Flight) -> Flight:
        planned, aged = self._plans[flight.plan], self._objects.aged
        steps = tuple(step._replace(wanted=aged(step.wanted)) for step in planned.steps)
        plan = self.number(planned._replace(steps=steps, status=aged(planned.status)))
        return flight._replace(owner=aged(flight.owner), plan=plan, prunes=tuple(map(aged, flight.prunes)))

    def _around(self, state: State, owner: int) -> _Around:
        fact = self._objects.fact
        about = fact(owner)
        children: list[int] = []
        occupied: list[Key] = []
        for number in self.seen_children(state):
            found = fact(number)
            if found.owner is not None and found.owner_uid == about.uid:
                children.append(number)
            elif found.owner is not None and found.owner == about.key:
                occupied.append(found.key)
        references = [
            number
            for key in sorted(self._model.references(owner))
            if (number := self._model.find(self._model.lane(state, key.kind).seen, key))
        ]
        return _Around(tuple(children), tuple(references), frozenset(occupied))

    def _plan(self, owner: int, around: _Around) -> int:
        observed = Observed(
            obj=self._objects[owner],
            children={self._objects.fact(number).key: self._objects[number] for number in around.children},
            pods=(),
            references={self._objects.fact(number).key: self._objects[number] for number in around.references},
            occupied=around.occupied,
            now=NOW,
            config=self._model.world.config,
        )
        name = name_of(key_of(observed.obj))
        first, second = (self._numbered(owner, self._ask(observed)) for _ in range(2))
        if first != second:
            raise Violation(f"two plans for the same observation of {name}")
        if not all(map(self._objects.unchanged, (owner, *around.children, *around.references))):
            raise Violation(f"plan changed what it was shown of {name}")
        return first

    def _ask(self, observed: Observed) -> Plan:
        try:
            return self._model.controllers[observed.obj["kind"]].plan(observed)
        except Exception as error:
            raise Violation(f"plan raised {error!r} for {name_of(key_of(observed.obj))}") from error

    def _numbered(self, owner: int, plan: Plan) -> int:
        # What is only provided is never read: nothing follows from it here.
        steps = tuple(self._step(owner, child) for child in plan.children if child.mode != "provide")
        status, again = self._objects.number(plan.status), plan.requeue_after is not None
        return self.number(Planned(steps, status, again, tuple(sorted(plan.look_up))))

    def _step(self, owner: int, child: Child) -> Step:
        manifest, applied = self._objects.number(child.manifest), child.mode == "apply"
        wanted = self._model.server.wanted(manifest, owner if child.owned else 0, applied=applied)
        return Step(key_of(child.manifest), wanted, child.mode, child.owned)
