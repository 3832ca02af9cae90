"""What must hold: of each object at the API server, of each step, and of a world at rest.

A status is judged by what the pods were told, not by the digests that the operator computes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from kaon.api import conditions as c
from kaon.controllers.base import Object
from kaon.controllers.conditions import condition
from kaon.resources.labels import DIGEST

from .environment import Environment
from .model import Model, Move, Violation, name_of
from .state import State

CRDS = Path(__file__).parents[2] / "crds"


class Properties:
    """The checks of one world. Remembers what was checked."""

    def __init__(self, model: Model, environment: Environment) -> None:
        self._model = model
        self._environment = environment
        self._schemas = {kind: _status_schema(kind) for kind in model.controllers}
        self._checked: set[object] = set()
        self.made: dict[str, Object] = {}
        """What a pod was told that made an artifact, by the artifact's digest."""

    def check(self, state: State) -> None:
        """Of a state: no two live Jobs for one digest, and every status is valid and true."""
        for kind, lane in self._model.lanes(state):
            if kind == "Job":
                self._check_jobs(lane.api)
            elif kind == "Report":
                for number in lane.api:
                    self.made.setdefault(self._environment.makes(number), self._environment.told(number))
            elif kind in self._model.controllers:
                for number in lane.api:
                    self._check_resource(number)

    def check_step(self, before: State, move: Move) -> None:
        """Of a step: no work is thrown away, and what a status speaks of never goes back to an older generation."""
        after = move.state
        if move.what == "reconcile":
            self._check_up_to_date(before, move.whom)
        if move.what == "prune" and not self._model.world.edited:
            self._check_pruned(before, after)
        if move.what in ("tell result", "tell late"):
            self._check_results(before, after)
        if move.what == "create":
            self._check_created(before, after)
        for kind in self._model.controllers:
            old, new = self._model.lane(before, kind).api, self._model.lane(after, kind).api
            if old is new or old == new:
                continue
            for number in set(new) - set(old):
                fact = self._model.objects.fact(number)
                was = self._model.find(old, fact.key)
                if was and self._model.objects.fact(was).uid == fact.uid:
                    told, tells = self._generation(was), self._generation(number)
                    if tells < told:
                        raise Violation(
                            f"the status of {name_of(fact.key)} went back from generation {told} to {tells}"
                        )

    def _check_up_to_date(self, before: State, whom: str) -> None:
        """No plan is made from before the operator's own last write for the same resource."""
        for index, kind, count in before.unseen:
            if name_of(self._model.resources[index]) == whom:
                raise Violation(
                    f"{whom} is planned, and {count} events of {kind} from before its own write are to come"
                )

    def _check_results(self, before: State, after: State) -> None:
        """A result is written once."""
        old, new = self._model.lane(before, "Report").api, self._model.lane(after, "Report").api
        for number in set(new) - set(old):
            fact = self._model.objects.fact(number)
            was = self._model.find(old, fact.key)
            if was and self._model.objects.fact(was).uid == fact.uid:
                told = self._model.objects[was].get("status", {}).get("result")
                if told and self._model.objects[number].get("status", {}).get("result") != told:
                    raise Violation(f"the result in {name_of(fact.key)} was replaced")

    def _check_pruned(self, before: State, after: State) -> None:
        """Where nobody changes what is declared, no Job is stopped before it has told its result."""
        if "Job" not in self._model.lane_of:
            return
        for number in set(self._model.lane(before, "Job").api) - set(self._model.lane(after, "Job").api):
            if self._environment.works(before, number):
                raise Violation(f"{name_of(self._model.objects.fact(number).key)} is deleted while it works")

    def _check_created(self, before: State, after: State) -> None:
        """Nothing is run again whose result is there. Where pods linger, one may tell it after it was looked up."""
        if "Job" not in self._model.lane_of or self._model.world.lingers:
            return
        for number in set(self._model.lane(after, "Job").api) - set(self._model.lane(before, "Job").api):
            if self._environment.is_told(before, number):
                name = name_of(self._model.objects.fact(number).key)
                raise Violation(f"{name} runs again, though it has told its result")

    def _generation(self, number: int) -> int:
        found: int = self._model.objects[number].get("status", {}).get("observedGeneration", 0)
        return found

    def _check_jobs(self, jobs: tuple[int, ...]) -> None:
        if jobs in self._checked:
            return
        live = set()
        for number in jobs:
            job = self._model.objects[number]
            if not job.get("status", {}).get("conditions"):
                who = (self._model.objects.fact(number).owner_uid, job["metadata"]["labels"][DIGEST])
                if who in live:
                    raise Violation(f"two live Jobs of {who[0]} for one digest")
                live.add(who)
        self._checked.add(jobs)

    def _check_resource(self, number: int) -> None:
        if number in self._checked:
            return
        obj = self._model.objects[number]
        name, status = name_of(self._model.objects.fact(number).key), obj.get("status", {})
        wrong = next(self._schemas[obj["kind"]].iter_errors(status), None) if status else None
        if wrong is not None:
            raise Violation(f"the status of {name} is not valid: {wrong.json_path}: {wrong.message}")
        if status.get("observedGeneration", 0) > obj["metadata"]["generation"]:
            raise Violation(f"the status of {name} is of a generation to come")
        told = status.get("history", [])
        history = [(item["time"], item.get("inputDigest"), item["outcome"]) for item in told]
        if any(one == other for one, other in itertools.pairwise(history)):
            raise Violation(f"the history of {name} tells the same twice")
        made = [
            (*one[1:], item["artifactDigest"])
            for one, item in zip(history, told, strict=True)
            if "artifactDigest" in item
        ]
        if len(set(made)) != len(made):
            raise Violation(f"the history of {name} tells of one artifact twice")
        held = {kind for kind in c.ALWAYS if (found := condition(obj, kind)) and found["status"] == "True"}
        if len(held & {c.READY, c.STALLED, c.RECONCILING}) > 1:
            raise Violation(f"{name} is {' and '.join(sorted(held))} at once")
        if any(not item["message"] for item in status.get("conditions", ())):
            raise Violation(f"a condition of {name} says nothing")
        if c.READY in held:
            self._check_ready(name, obj)
        self._checked.add(number)

    def _check_ready(self, name: str, obj: Object) -> None:
        """Ready for this generation: its artifact was made of what this generation declares."""
        differs = DIFFERS.get(obj["kind"])
        if differs is None:
            return
        if "artifact" not in obj["status"]:
            raise Violation(f"{name} is Ready without an artifact")
        told = self.made.get(obj["status"]["artifact"]["digest"])
        if told is None:
            raise Violation(f"{name} is Ready with an artifact that no pod made")
        why = differs(obj, told)
        if why:
            raise Violation(f"{name} is Ready with an artifact of another input: {why}")


def _dataset_differs(obj: Object, told: Object) -> str:
    declared, work = obj["spec"].get("clean", {}).get("missing", "drop"), told["work"]["clean"].get("missing", "drop")
    return "" if declared == work else f"spec.clean.missing is {declared}, and was {work}"


def _training_differs(obj: Object, told: Object) -> str:
    declared, work = obj["spec"].get("recipe", {}).get("epochs", 3), told["work"]["recipe"]["epochs"]
    data, used = obj["status"]["dataset"]["digest"], told["work"]["dataset"]["digest"]
    if data != used:
        return f"status.dataset is {data}, and was {used}"
    return "" if declared == work else f"spec.recipe.epochs is {declared}, and was {work}"


def _compression_differs(obj: Object, told: Object) -> str:
    declared, work = obj["spec"].get("objective", "latency"), told["work"]["objective"]
    return "" if declared == work else f"spec.objective is {declared}, and was {work}"


DIFFERS: dict[str, Callable[[Object, Object], str]] = {
    "Dataset": _dataset_differs,
    "TrainingRun": _training_differs,
    "CompressionJob": _compression_differs,
}


@cache
def _status_schema(kind: str) -> Draft202012Validator:
    """The schema of a kind's status in its CRD."""
    (path,) = (path for path in CRDS.glob("*.yaml") if path.stem.endswith(f"_{kind.lower()}s"))
    version = yaml.safe_load(path.read_text())["spec"]["versions"][0]
    return Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"]["properties"]["status"]))


def _strict(schema: Any) -> Any:
    """The schema that also refuses what the API server would take away in silence."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made
