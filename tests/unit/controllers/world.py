"""A small model of a cluster in memory, for tests of the pure controllers: it makes plans true and lets Jobs live.

It does what the engine and Kubernetes do, in the simplest way: apply children, prune, owner references, UIDs, garbage
collection, generations. It has no watches and no staleness; the cluster tests have the real ones.
"""

from __future__ import annotations

import copy
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from knownkeys import TRUST, signed, told

from kaon.contract.jobspec import JobSpec
from kaon.controllers.base import Controller, Images, Key, Object, Observed, OperatorConfig, Plan, key_of
from kaon.controllers.conditions import timestamp
from kaon.resources import labels

NAMESPACE = "ml"
CONFIG = OperatorConfig(
    trust=TRUST,
    images=Images(jobs="kaon/jobs:1", triton="kaon/triton:1", torchserve="kaon/torchserve:1", router="kaon/router:1"),
    version="0.1.0",
    storage_uri="s3://kaon/artifacts",
    storage_secret="kaon-store",
)


def digest(character: str) -> str:
    """A well-formed digest made of one hex digit."""
    return "sha256:" + character * 64


class World:
    """CRs, their children and the clock."""

    def __init__(self, *controllers: Controller, config: OperatorConfig = CONFIG) -> None:
        self.controllers = {controller.kind: controller for controller in controllers}
        self.config = config
        self.objects: dict[Key, Object] = {}
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.jobs_created: list[tuple[str, str]] = []
        """(owner UID, Job name) of every Job that was ever created."""
        self._uids = itertools.count(1)

    # -- what users do ----------------------------------------------------------------------------------------------

    def apply(self, kind: str, name: str, spec: Object) -> Object:
        """kubectl apply: creates, or replaces the spec; the generation moves only when the spec does."""
        key = Key(kind, NAMESPACE, name)
        found = self.objects.get(key)
        if found is None:
            meta = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{next(self._uids)}", "generation": 1}
            found = self.objects[key] = {"apiVersion": "kaon.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": {}}
            found["spec"] = copy.deepcopy(spec)
        elif found["spec"] != spec:
            found["spec"] = copy.deepcopy(spec)
            found["metadata"]["generation"] += 1
        return found

    def delete(self, kind: str, name: str) -> None:
        """kubectl delete with the garbage collection that follows."""
        gone = self.objects.pop(Key(kind, NAMESPACE, name), None)
        if gone is not None:
            for key in [key for key, obj in self.objects.items() if self._owned_by(obj, gone)]:
                del self.objects[key]

    # -- what the engine does ---------------------------------------------------------------------------------------

    def observe(self, key: Key) -> Observed:
        """All that the controller of a CR may know."""
        obj = self.objects[key]
        return Observed(
            obj=obj,
            children={k: o for k, o in self.objects.items() if self._owned_by(o, obj)},
            pods=[],
            references={k: self.objects[k] for k in self.controllers[key.kind].references(obj) if k in self.objects},
            occupied=frozenset(),
            now=self.now,
            config=self.config,
        )

    def reconcile(self, key: Key) -> Plan:
        """One plan, made true. Returns it."""
        obj = self.objects[key]
        plan = self.controllers[key.kind].plan(self.observe(key))
        planned = set()
        for child in plan.children:
            child_key = key_of(child.manifest)
            planned.add(child_key)
            if child_key not in self.objects and child.mode != "keep":
                self._create(child.manifest, obj if child.owned else None)
            elif child.mode == "apply":
                self.objects[child_key] = _merged(self.objects[child_key], child.manifest)
        for gone in [k for k, o in self.objects.items() if self._owned_by(o, obj) and k not in planned]:
            del self.objects[gone]
        obj["status"] = copy.deepcopy(plan.status)
        return plan

    def settle(self, rounds: int = 30) -> None:
        """Reconciles everything until nothing changes. Fails when that does not happen."""
        for _ in range(rounds):
            before = copy.deepcopy(self.objects)
            for key in sorted(k for k in self.objects if k.kind in self.controllers):
                self.reconcile(key)
            if self.objects == before:
                return
            self.now += timedelta(seconds=1)
        raise AssertionError("the world does not settle")

    def _create(self, manifest: Object, owner: Object | None) -> None:
        made = copy.deepcopy(manifest)
        made["metadata"]["uid"] = f"uid-{next(self._uids)}"
        if owner is not None:
            made["metadata"]["ownerReferences"] = [{"uid": owner["metadata"]["uid"], "controller": True}]
            if made["kind"] == "Job":
                self.jobs_created.append((owner["metadata"]["uid"], made["metadata"]["name"]))
        self.objects[key_of(made)] = made

    @staticmethod
    def _owned_by(obj: Object, owner: Object) -> bool:
        owners = obj["metadata"].get("ownerReferences", [])
        return any(item["uid"] == owner["metadata"]["uid"] for item in owners)

    # -- what pods and the Job controller do ------------------------------------------------------------------------

    def jobs(self, owner: str | None = None) -> list[Object]:
        """The Jobs there are, of one owner if named."""
        return [
            obj
            for key, obj in self.objects.items()
            if key.kind == "Job" and (owner is None or obj["metadata"]["labels"][labels.OWNER_NAME] == owner)
        ]

    def told(self, job: Object) -> JobSpec:
        """What a Job's pods are told."""
        return told(self.objects[Key("Report", NAMESPACE, job["metadata"]["name"])])

    def is_live(self, job: Object) -> bool:
        """Whether a Job is neither complete nor failed."""
        return not job.get("status", {}).get("conditions")

    def run(self, job: Object, result: Object) -> None:
        """The Job's pod reports a result, and the Job completes."""
        times = {"startTime": timestamp(self.now), "completionTime": timestamp(self.now)}
        self.report(job, signed(self.told(job), {**result, **times}))
        self.end(job, "Complete")

    def report(self, job: Object, status: Object) -> None:
        """The Job's pod writes its Report."""
        found = self.objects[Key("Report", NAMESPACE, job["metadata"]["name"])]
        found["status"] = {**found.get("status", {}), **status}

    def end(self, job: Object, kind: str, reason: str = "") -> None:
        """The Job gets a terminal condition."""
        ended = {"type": kind, "status": "True", "lastTransitionTime": timestamp(self.now), "reason": reason}
        job["status"] = {**job.get("status", {}), "conditions": [ended]}


def _merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {name: _merged(base.get(name), value) for name, value in over.items()}
    return copy.deepcopy(over)


# -- the specs and results that the tests use -----------------------------------------------------------------------

DATASET_SPEC: Object = {
    "task": "text-classification",
    "sources": [{"uri": "s3://raw/train.csv", "split": "train"}, {"uri": "s3://raw/test.csv", "split": "test"}],
    "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
}
TRAINING_SPEC: Object = {"datasetRef": {"name": "data"}, "model": {"base": "s3://models/tiny"}}
COMPRESSION_SPEC: Object = {
    "modelRef": {"kind": "TrainingRun", "name": "run"},
    "budget": {"maxDrop": {"accuracy": 0.01, "macroF1": 0.02}},
}
METRICS: Object = {"accuracy": {"value": 0.95}, "macroF1": {"value": 0.9}}
EVALUATION: Object = {"split": "test", "rows": 100, "metrics": METRICS, "sizeBytes": 1000}


def artifact(character: str = "a") -> Object:
    """An artifact as a pod reports it."""
    return {"uri": f"s3://kaon/artifacts/x/{character}", "digest": digest(character), "sizeBytes": 10}


def dataset_result(character: str = "a", **quality: Any) -> Object:
    """The result of a dataset stage."""
    found = {
        "rowsRead": 110, "missing": 0, "duplicates": 0, "missingRatio": 0.0, "duplicateRatio": 0.0, "leakage": 0,
        "minRowsPerClass": 40, "smallestClass": "ham", **quality,
    }  # fmt: skip
    rows = {"train": 80, "validation": 10, "test": 20}
    return {"artifact": artifact(character), "dataset": {"rows": rows, "classes": ["ham", "spam"], "quality": found}}


def training_result(character: str = "b", **evaluation: Any) -> Object:
    """The result of a training stage."""
    training = {"evaluation": {**EVALUATION, **evaluation}, "datasetDigest": digest("a")}
    return {"artifact": artifact(character), "training": training}


def compression_result(verdict: str = "Accepted", character: str = "c") -> Object:
    """The result of a compression stage."""
    told = {
        "verdict": verdict, "message": "macro-F1 drop 0.031 exceeds 0.02; nearest: int8-dynamic.",
        "baseline": EVALUATION, "evaluation": EVALUATION, "chosen": "fusion+int8-dynamic", "sizeRatio": 4.0,
        "speedup": {"value": 2.0, "low": 1.9, "high": 2.1}, "drops": {"accuracy": 0.001}, "sourceDigest": digest("b"),
    }  # fmt: skip
    return {"compression": told, **({"artifact": artifact(character)} if verdict == "Accepted" else {})}


def result_for(job: Object, character: str = "a") -> Object:
    """The result that suits a Job's stage."""
    makers = {"dataset": dataset_result, "train": training_result}
    stage = job["metadata"]["labels"][labels.COMPONENT]
    return makers[stage](character) if stage in makers else compression_result(character=character)
