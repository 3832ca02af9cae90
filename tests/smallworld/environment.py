"""Everybody but the operator: users, the Job controller and the pods, the garbage collector, the clock.

Each is as slow as it likes, and each of its steps is a move of its own. A pod's result follows from what it was told
and from nothing else, so that a result that belongs to another input shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from knownkeys import signed
from tests.unit.controllers.world import NAMESPACE, compression_result, dataset_result, training_result

from kaon.api.base import API_VERSION
from kaon.contract.jobspec import JobSpec
from kaon.controllers.base import Key, Object

from .engine import Engine
from .model import Model, Move, name_of
from .objects import NOW_TEXT, canonical
from .serving import older_traffic
from .state import Budget, State, spent, with_item, without

MAKERS: dict[str, Callable[[], Object]] = {
    "dataset": dataset_result,
    "train": training_result,
    "compress": compression_result,
}


class Environment:
    """What may happen next around the operator."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self._model = model
        self._engine = engine
        self._objects = model.objects
        self._told: dict[int, Object] = {}
        self._made: dict[int, str] = {}
        self._after: dict[tuple[Any, ...], int] = {}

    def moves(self, state: State) -> Iterator[Move]:
        """What happens by itself, sooner or later: pods first, then the collector, then time."""
        if "Job" in self._model.lane_of:
            yield from self._jobs(state)
            yield from self._dying(state)
        yield from self._deployments(state)
        yield from self._collector(state)
        if not state.late and not (state.flights and self._model.world.brisk):
            yield Move("time", "passes", self._aged(state))
        if "Job" in self._model.lane_of:
            yield from self._times_to_live(state)

    def mishaps(self, state: State) -> Iterator[Move]:
        """What may happen, as far as the budgets go."""
        if state.left[Budget.APPLY]:
            yield from self._applies(state)
        if state.left[Budget.DELETE]:
            yield from self._deletes(state)
        if state.left[Budget.HAND]:
            yield from self._hands(state)
        if "Job" in self._model.lane_of:
            yield from self._misfortunes(state)

    # -- users --------------------------------------------------------------------------------------------------------

    def _applies(self, state: State) -> Iterator[Move]:
        left = spent(state, Budget.APPLY)
        for key, specs in self._model.world.declared.items():
            there = self._model.find(self._model.lane(state, key.kind).api, key)
            for index, spec in enumerate(specs):
                after = self._applied(state, key, there, spec)
                if after != there:
                    what = "user edits" if there else "user applies"
                    yield Move(what, f"{name_of(key)} to {index}", self._change(state, there, after, left), False)
        for key, contents in self._model.world.outside.items():
            there = self._model.find(self._model.lane(state, key.kind).api, key)
            for content in contents:
                after = self._objects.number(content)
                if after != there:
                    yield Move("outside changes", name_of(key), self._change(state, there, after, left), False)

    def _applied(self, state: State, key: Key, there: int, spec: Object) -> int:
        if not there:
            meta = {"name": key.name, "namespace": NAMESPACE, "uid": self._model.fresh_uid(state, key), "generation": 1}
            return self._objects.number({"apiVersion": API_VERSION, "kind": key.kind, "metadata": meta, "spec": spec})
        before = self._objects[there]
        if before["spec"] == spec:
            return there
        meta = {**before["metadata"], "generation": before["metadata"]["generation"] + 1}
        return self._objects.number({**before, "metadata": meta, "spec": spec})

    def _deletes(self, state: State) -> Iterator[Move]:
        left = spent(state, Budget.DELETE)
        for key in self._model.world.declared:
            there = self._model.find(self._model.lane(state, key.kind).api, key)
            if there:
                yield Move("user deletes", name_of(key), self._change(state, there, 0, left), False)

    def _hands(self, state: State) -> Iterator[Move]:
        left = spent(state, Budget.HAND)
        for kind in sorted(self._model.world.hand & self._model.lane_of.keys()):
            for there in self._model.lane(state, kind).api:
                if self._objects.fact(there).owner is not None:
                    whom = name_of(self._objects.fact(there).key)
                    yield Move("delete by hand", whom, self._change(state, there, 0, left), False)

    # -- Jobs and their pods ------------------------------------------------------------------------------------------

    def _jobs(self, state: State) -> Iterator[Move]:
        for number in self._model.lane(state, "Job").api:
            whom, report = name_of(self._objects.fact(number).key), self._report_of(state, number)
            if not self._runs(number):
                continue
            after = self._once(("start", number), lambda n=number: self._started(n))
            if after != number:
                yield Move("start", whom, self._model.change(state, number, after))
            elif report and not self._objects[report].get("status", {}).get("result"):
                yield Move("tell result", whom, self._tell(state, number, report))
            elif report:
                complete = self._once(("Complete", number), lambda n=number: self._ended(n, "Complete"))
                yield Move("complete", whom, self._model.change(state, number, complete))

    def _started(self, number: int) -> int:
        """The next of what happens to a Job before its pod works: it is begun, its pod is made."""
        status = self._objects[number].get("status", {})
        if not self._model.world.starts or "active" in status:
            return number
        return self._with(number, {"active": 1, **status} if status else {"startTime": NOW_TEXT})

    def _misfortunes(self, state: State) -> Iterator[Move]:
        for number in self._model.lane(state, "Job").api:
            if not self._runs(number):
                continue
            whom = name_of(self._objects.fact(number).key)
            if state.left[Budget.FAIL]:
                failed = self._once(("Failed", number), lambda n=number: self._ended(n, "Failed"))
                yield Move("fail", whom, self._change(state, number, failed, spent(state, Budget.FAIL)), False)

    def deleted(self, state: State, before: int, after: int) -> State:
        """After a change of an object: a Job's pod does not end with it, but a while later."""
        if after or not self._model.world.lingers or self._objects.fact(before).key.kind != "Job":
            return state
        return state._replace(dying=with_item(state.dying, before)) if self._runs(before) else state

    def _dying(self, state: State) -> Iterator[Move]:
        """The pod of a deleted Job ends; it may just have finished its work."""
        for number in state.dying:
            whom, ended = name_of(self._objects.fact(number).key), state._replace(dying=without(state.dying, number))
            yield Move("die", whom, ended)
            report = self._report_of(state, number)
            if report and self.may_tell(report):
                yield Move("tell late", whom, self._tell(ended, number, report), progress=False)

    def may_tell(self, report: int) -> bool:
        """Whether a pod writes its result: only where there is none."""
        return not self._objects[report].get("status", {}).get("result")

    def _times_to_live(self, state: State) -> Iterator[Move]:
        for number in self._model.lane(state, "Job").api:
            job = self._objects[number]
            if "ttlSecondsAfterFinished" in job["spec"] and job.get("status", {}).get("conditions"):
                whom = name_of(self._objects.fact(number).key)
                yield Move("end time to live", whom, self._model.change(state, number, 0))

    def _runs(self, number: int) -> bool:
        job = self._objects[number]
        return not job.get("status", {}).get("conditions") and not job["spec"].get("suspend")

    def told(self, report: int) -> Object:
        """What the pods of a Report are told."""
        found = self._told.get(report)
        if found is None:
            found = self._told[report] = json.loads(self._objects[report]["spec"]["job"])
        return found

    def makes(self, report: int) -> str:
        """The digest of the artifact that they make."""
        found = self._made.get(report)
        if found is None:
            found = self._made[report] = made_of(self.told(report))
        return found

    def works(self, state: State, job: int) -> bool:
        """Whether a Job is there for something that nobody knows yet."""
        return not self.is_told(state, job) and not self._objects[job].get("status", {}).get("conditions")

    def is_told(self, state: State, job: int) -> bool:
        """Whether a Job's Report has its result."""
        report = self._report_of(state, job)
        return bool(report and self._objects[report].get("status", {}).get("result"))

    def _report_of(self, state: State, job: int) -> int:
        container = self._objects[job]["spec"]["template"]["spec"]["containers"][0]
        _, _, name = container["args"]
        return self._model.find(self._model.lane(state, "Report").api, Key("Report", NAMESPACE, name))

    def _tell(self, state: State, job: int, report: int) -> State:
        told = self.told(report)
        digest, reused = told["inputDigest"], told["inputDigest"] in state.store
        ended = self._ended_at(job, reused)
        after = self._once(("result", job, report, reused), lambda: self._resulting(told, report, reused, ended))
        if self._model.world.reuse and not reused:
            state = state._replace(store=tuple(sorted((*state.store, digest))))
        return self._model.change(state, report, after)

    def _ended_at(self, job: int, reused: bool) -> str:
        """When a pod ends: where two may, each at a time of its own, and the one that finds an artifact later."""
        uid = self._objects.fact(job).uid
        second = int(uid.rpartition(".")[2]) % 30 + 30 * reused
        return f"2026-01-01T00:00:{second:02}Z" if self._model.world.lingers else NOW_TEXT

    def _resulting(self, told: Object, report: int, reused: bool, ended: str) -> int:
        result = MAKERS[told["work"]["stage"]]()
        digest = made_of(told)
        result["artifact"] = {"uri": "", "digest": digest, "sizeBytes": 10}
        times = {"startTime": NOW_TEXT, "completionTime": ended}
        job = JobSpec.model_validate(told).model_copy(update={"content": {}})
        return self._with(report, signed(job, {**result, **times, "reused": reused}))

    def _with(self, number: int, status: Object) -> int:
        return self._objects.number({**self._objects[number], "status": status})

    def _ended(self, job: int, how: str) -> int:
        condition = {"type": how, "status": "True", "lastTransitionTime": NOW_TEXT, "reason": how}
        status = self._objects[job].get("status", {})
        return self._with(
            job, {**status, "active": 0, "conditions": [condition]} if status else {"conditions": [condition]}
        )

    # -- Deployments --------------------------------------------------------------------------------------------------

    def _deployments(self, state: State) -> Iterator[Move]:
        if "Deployment" not in self._model.lane_of:
            return
        for number in self._model.lane(state, "Deployment").api:
            after = self._once(("live", number), lambda n=number: self._lives(n))
            if after != number:
                yield Move("live", name_of(self._objects.fact(number).key), self._model.change(state, number, after))

    def _lives(self, number: int) -> int:
        """The next thing that the pods of a Deployment come to: they are seen, answer, have answered long enough."""
        found = self._objects[number]
        wanted, status = found["spec"]["replicas"], found.get("status", {})
        whole = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": wanted,
            "availableReplicas": wanted,
        }
        if status.get("observedGeneration") != whole["observedGeneration"]:
            return self._with(number, {**whole, "availableReplicas": 0})
        return self._with(number, whole)

    # -- the collector and time ---------------------------------------------------------------------------------------

    def _collector(self, state: State) -> Iterator[Move]:
        """Objects whose owner is gone go one by one, each at a time of its own."""
        for kind, lane in self._model.lanes(state):
            for number in lane.api:
                fact = self._objects.fact(number)
                if fact.owner is None or kind in self._model.controllers:
                    continue
                owner = self._model.find(self._model.lane(state, fact.owner.kind).api, fact.owner)
                if not owner or self._objects.fact(owner).uid != fact.owner_uid:
                    yield Move("collect", name_of(fact.key), self._model.change(state, number, 0))

    def _aged(self, state: State) -> State:
        lanes = tuple(map(self._model.aged_lane, state.lanes))
        flights = tuple(sorted(self._engine.plans.aged(flight) for flight in state.flights))
        return state._replace(lanes=lanes, flights=flights, traffic=older_traffic(state.traffic))

    # -- parts --------------------------------------------------------------------------------------------------------

    def _change(self, state: State, before: int, after: int, left: tuple[int, ...]) -> State:
        return self._model.change(state._replace(left=left), before, after)

    def _once(self, key: tuple[Any, ...], make: Any) -> int:
        found = self._after.get(key)
        if found is None:
            found = self._after[key] = make()
        return found


def made_of(told: Object) -> str:
    """The digest of the artifact that a pod makes of its work. Secrets and places make no difference."""
    return "sha256:" + hashlib.sha256(canonical(without_secrets(told["work"]))).hexdigest()


def without_secrets(value: Any) -> Any:
    """The JSON without what only says how stores are opened."""
    if isinstance(value, dict):
        return {
            name: without_secrets(item)
            for name, item in value.items()
            if name not in ("secret", "secretRef", "modelSecret", "checkpoint")
        }
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return value
