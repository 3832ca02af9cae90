"""A world at rest: nothing moves any more, nobody has anything to write, and what is there is what was declared.

What was declared is what comes when the same resources are applied once to an empty world in which nothing goes wrong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

from kaon.api import conditions as c
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import condition

from .model import Model, Violation, name_of
from .objects import canonical
from .state import Budget, State
from .world import SHARED, Bounds, World

PASSING = frozenset({
    "history", "reused", "attempts", "observedGeneration", "progress", "lastTransitionTime", "startTime",
    "completionTime", "since", "creationTimestamp", "generation", "kaon.dev/applied", "provenance", "uid",
})  # fmt: skip
"""Parts of an object that tell of the way here, and not of where it is."""
FAILED = "JobFailed"

Run = Callable[[World, frozenset[Key]], tuple[Model, State]]
"""(world, the resources whose Jobs fail) -> where it ends when nothing else goes wrong."""


class Rest:
    """The checks of a world at rest. Remembers where undisturbed worlds end."""

    def __init__(self, model: Model, begin: Callable[[State, int], State], run: Run) -> None:
        self._model = model
        self._begin = begin
        self._run = run
        self._undisturbed: dict[object, tuple[bytes, dict[Key, bytes]]] = {}

    def check(self, state: State) -> None:
        """Of a state from which nothing goes on by itself."""
        if state.awake:
            waiting = ", ".join(name_of(self._model.resources[index]) for index in state.awake)
            raise Violation(f"at rest, and {waiting} asks to be looked at again and again")
        if state.flights:
            raise Violation("at rest in the middle of a reconcile")
        for kind, lane in self._model.lanes(state):
            if lane.api != lane.seen:
                raise Violation(f"at rest, and the cache of {kind} is not what is there")
        for index, key in enumerate(self._model.resources):
            if self._begin(state, index) != state:
                raise Violation(f"{name_of(key)} would be written, and nobody looks at it again")
        self._check_declared(state)

    def _check_declared(self, state: State) -> None:
        there = self._resources(state)
        failing = frozenset(key for key, obj in there.items() if self._has_failed(state, obj))
        outside = {key: self._find(state, key) for key in self._model.world.outside}
        specs = {key: declared_by(obj) for key, obj in there.items()}
        memo = canonical([[[name_of(key), spec] for key, spec in specs.items()], list(outside.values())]), failing
        if memo not in self._undisturbed:
            self._undisturbed[memo] = self._declared(specs, outside, failing)
        wanted, children = self._undisturbed[memo]
        found = self._standing(self._model, state)
        if found != wanted:
            raise Violation(f"at rest, and not as declared:\n  is     {found.decode()}\n  should {wanted.decode()}")
        self._check_children(state, there, children)

    def _declared(
        self, specs: dict[Key, Object], outside: dict[Key, Object], failing: frozenset[Key]
    ) -> tuple[bytes, dict[Key, bytes]]:
        world = dataclasses.replace(
            self._model.world,
            declared={key: (specs[key],) if key in specs else () for key in self._model.world.declared},
            outside={key: (obj,) for key, obj in outside.items()},
            bounds=Bounds({Budget.APPLY: len(specs), Budget.FAIL: len(failing)}),
        )
        model, state = self._run(world, failing)
        return self._standing(model, state), self._children(model, state)

    def _check_children(self, state: State, there: dict[Key, Object], wanted: dict[Key, bytes]) -> None:
        found = self._children(self._model, state)
        jobs = {Key("Job", key.namespace, obj["status"].get("jobName", "")) for key, obj in there.items()}
        # A Job that is done may go and may stay, its Report tells; what a namespace shares stays.
        for key in found.keys() - wanted.keys() - jobs:
            if key.kind in SHARED:
                continue
            raise Violation(f"at rest, and {name_of(key)} is there, which nothing declares")
        for key, content in wanted.items():
            if key not in found and key.kind != "Job":
                raise Violation(f"at rest, and {name_of(key)} is missing")
            if key in found and found[key] != content and key.kind not in ("Job", "Report"):
                raise Violation(f"at rest, and {name_of(key)} is not as declared")

    def _has_failed(self, state: State, obj: Object) -> bool:
        """Whether a resource stands failed because its Job did. It must have."""
        stalled = condition(obj, c.STALLED)
        if stalled is None or stalled["status"] != "True" or stalled["reason"] != FAILED:
            return False
        job = self._find(state, Key("Job", obj["metadata"]["namespace"], obj["status"]["jobName"]))
        ended = job.get("status", {}).get("conditions", [{}])[0].get("type")
        if ended != "Failed" and not (not job and "ttlSecondsAfterFinished" in obj["spec"]):
            raise Violation(f"{obj['metadata']['name']} stands failed, and its Job did not fail")
        return True

    def _find(self, state: State, key: Key) -> Object:
        number = self._model.find(self._model.lane(state, key.kind).api, key)
        return self._model.objects[number] if number else {}

    def _resources(self, state: State) -> dict[Key, Object]:
        return {key: obj for key in self._model.resources if (obj := self._find(state, key))}

    @staticmethod
    def _standing(model: Model, state: State) -> bytes:
        """How all resources stand."""
        found = {}
        for key in model.resources:
            number = model.find(model.lane(state, key.kind).api, key)
            if number:
                obj = model.objects[number]
                if obj["status"]["observedGeneration"] != obj["metadata"]["generation"]:
                    raise Violation(f"at rest, and the status of {name_of(key)} is of an old generation")
                found[name_of(key)] = _plain(model, obj["status"], passing_of(obj))
        return canonical(found)

    @staticmethod
    def _children(model: Model, state: State) -> dict[Key, bytes]:
        made = {}
        for kind, lane in model.lanes(state):
            for number in lane.api:
                key = model.objects.fact(number).key
                if kind not in model.controllers and key not in model.world.outside:
                    obj = {name: part for name, part in model.objects[number].items() if name != "status"}
                    made[key] = canonical(_plain(model, obj, PASSING))
        return made


def declared_by(obj: Object) -> Object:
    """The spec that decides where a resource ends. What had ended when it was suspended stays ended."""
    spec: Object = obj["spec"]
    if obj["status"]["phase"] == "Suspended":
        return spec
    return {name: value for name, value in spec.items() if name != "suspend"}


def passing_of(obj: Object) -> frozenset[str]:
    """The passing parts of a resource's status. Suspended is suspended, before its Job was made or after."""
    suspended = obj["status"]["phase"] == "Suspended"
    return PASSING | {"message"} if suspended else PASSING


def _plain(model: Model, value: Any, passing: frozenset[str]) -> Any:
    """The JSON without what tells of the way here, and with one UID for all incarnations of a resource."""
    if isinstance(value, dict):
        return {name: _plain(model, item, passing) for name, item in value.items() if name not in passing}
    if isinstance(value, list):
        return [_plain(model, item, passing) for item in value]
    if isinstance(value, str):
        return _one_uid(value, model.resources)
    return value


def _one_uid(text: str, resources: Iterable[Key]) -> str:
    for key in resources:
        text = re.sub(rf"\b{key.kind}\.{key.name}\.\d+\b", f"{key.name}-uid", text)
    return text
