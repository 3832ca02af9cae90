"""The part of the small model of a cluster that serving needs: Deployments whose pods come up, fail or vanish.

It also checks, after each plan that is made true, what must hold at any time: traffic goes only to what is ready, every
router has known a cluster long enough before it gets traffic, and what may still get traffic still runs.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from kaon.controllers import modeldeployment
from kaon.controllers.base import Key, Object, Observed, Plan
from kaon.controllers.conditions import timestamp
from kaon.resources import labels

from .world import CONFIG, EVALUATION, NAMESPACE, World, artifact

NAME = "reuters"
KEY = Key("ModelDeployment", NAMESPACE, NAME)
ROUTER = Key("ConfigMap", NAMESPACE, f"{NAME}-router")
SPEC: Object = {"modelRef": {"kind": "CompressionJob", "name": "small"}}


@dataclass(frozen=True)
class Failure:
    """How the pods of a revision fail."""

    message: str = "ArtifactCorrupted: model.onnx: expected sha256 aa, found bb"
    container: str = "fetch"
    waiting: str = "CrashLoopBackOff"
    exit_code: int = 64


class ServingWorld(World):
    """One ModelDeployment and the CompressionJob that it serves."""

    def __init__(self) -> None:
        super().__init__(modeldeployment.CONTROLLER, config=CONFIG)
        self.failing: dict[str, Failure] = {}
        """By the artifact digest of the revision."""
        self.capabilities: frozenset[str] = frozenset()
        self._seen_specs: dict[Key, Object] = {}
        self._ready_since: dict[Key, Any] = {}
        self._in_config_since: dict[str, Any] = {}
        self._had_traffic_until: dict[str, Any] = {}
        self._routed: str | None = None

    # -- what users and other stages do -----------------------------------------------------------------------------

    def deploy(self, **spec: Any) -> None:
        """Apply the ModelDeployment."""
        self.apply("ModelDeployment", NAME, {**SPEC, **spec})

    def compressed(
        self, character: str, name: str = "small", signature: Object | None = None, **evaluation: Any
    ) -> None:
        """A CompressionJob is Accepted with the artifact made of `character`."""
        obj = self.apply("CompressionJob", name, {"modelRef": {"kind": "TrainingRun", "name": "run"}})
        obj["status"] = {
            "artifact": artifact(character),
            "evaluation": {**EVALUATION, "latencyMs": {"p50": 2.0, "p99": 20.0}, **evaluation},
            "conditions": [_condition("Ready", True, "Succeeded"), _condition("Accepted", True, "BudgetMet")],
            **({"signature": signature} if signature else {}),
        }

    def compressing(self, name: str = "small") -> None:
        """The CompressionJob runs (again)."""
        obj = self.apply("CompressionJob", name, {"modelRef": {"kind": "TrainingRun", "name": "run"}})
        obj["status"] = {"conditions": [_condition("Ready", False, "Running"), _condition("Stalled", False, "Running")]}

    # -- what the cluster does --------------------------------------------------------------------------------------

    def observe(self, key: Key) -> Observed:
        return replace(super().observe(key), pods=self.pods(), capabilities=self.capabilities)

    def look(self) -> Plan:
        """One reconcile of the ModelDeployment, and a check of what must always hold."""
        plan = self.reconcile(KEY)
        for key, found in self.objects.items():
            if key.kind == "Deployment":
                self._touch(key, found)
        self._check()
        return plan

    def live(self, seconds: float, step: float = 10) -> None:
        """Time passes: pods come up or fail, and the ModelDeployment is looked at each step."""
        passed = 0.0
        while passed < seconds:
            self.now += timedelta(seconds=step)
            passed += step
            self.run_pods()
            self.look()

    def run_pods(self) -> None:
        """The Deployment controller and the kubelet: every pod is up, unless its revision fails."""
        for key, found in self.objects.items():
            if key.kind != "Deployment":
                continue
            wanted, meta = found["spec"]["replicas"], found["metadata"]
            ready = 0 if self._failure(found) else wanted
            since = self._ready_since.setdefault(key, self.now) if ready else self._ready_since.pop(key, self.now)
            settled = (self.now - since).total_seconds() >= found["spec"].get("minReadySeconds", 0)
            found["status"] = {
                "observedGeneration": meta["generation"],
                "replicas": wanted,
                "updatedReplicas": wanted,
                "readyReplicas": ready,
                "availableReplicas": ready if settled else 0,
            }

    def pods(self) -> list[Object]:
        """One pod for each Deployment: whole, or as its revision fails."""
        return [
            self._pod(found) for key, found in self.objects.items() if key.kind == "Deployment" and "status" in found
        ]

    def vanish(self, revision: str) -> None:
        """Somebody deletes a revision's Deployment."""
        key = Key("Deployment", NAMESPACE, f"{NAME}-{revision}")
        self.objects.pop(key, None)

    # -- what tests ask ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> Object:
        found: Object = self.objects[KEY].get("status", {})
        return found

    def condition(self, kind: str) -> Object:
        return next(item for item in self.status["conditions"] if item["type"] == kind)

    def routed(self) -> str | None:
        """The revision that the routes send everything to."""
        if ROUTER not in self.objects:
            return None
        routes = json.loads(self.objects[ROUTER]["data"]["rds.json"])["resources"][0]["virtual_hosts"][0]["routes"]
        weighted = next(item["route"]["weighted_clusters"]["clusters"] for item in routes if "weighted" in str(item))
        assert [item["weight"] for item in weighted] == [100]
        name: str = weighted[0]["name"]
        return name

    def asked(self) -> list[str]:
        """The inputs that the router's check allows in a request."""
        routes = json.loads(self.objects[ROUTER]["data"]["rds.json"])["resources"][0]["virtual_hosts"][0]["routes"]
        weighted = next(item["route"]["weighted_clusters"]["clusters"] for item in routes if "weighted" in str(item))
        (check,) = weighted[0]["typed_per_filter_config"].values()
        found: list[str] = check["filter_context"]["model"]["inputs"]
        return found

    def clusters(self) -> set[str]:
        """The revisions that the router knows."""
        if ROUTER not in self.objects:
            return set()
        return {item["name"] for item in json.loads(self.objects[ROUTER]["data"]["cds.json"])["resources"]}

    def revisions(self) -> set[str]:
        """The revisions that have a Deployment."""
        return {
            found["metadata"]["labels"][labels.REVISION]
            for key, found in self.objects.items()
            if key.kind == "Deployment" and labels.REVISION in found["metadata"]["labels"]
        }

    # -- parts ------------------------------------------------------------------------------------------------------

    def _touch(self, key: Key, found: Object) -> None:
        meta = found["metadata"]
        if "creationTimestamp" not in meta:
            meta["creationTimestamp"] = timestamp(self.now)
            self._seen_specs.pop(key, None)
            self._ready_since.pop(key, None)
        if self._seen_specs.get(key) != found["spec"]:
            self._seen_specs[key] = copy.deepcopy(found["spec"])
            meta["generation"] = meta.get("generation", 0) + 1

    def _failure(self, deployment: Object) -> Failure | None:
        short = deployment["metadata"]["labels"].get(labels.DIGEST, "")
        if labels.REVISION not in deployment["metadata"]["labels"]:
            return self.failing.get("router")
        return next((failure for digest, failure in self.failing.items() if digest[7:17] == short), None)

    def _pod(self, deployment: Object) -> Object:
        meta = {
            "name": f"{deployment['metadata']['name']}-x",
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
        }
        failure = self._failure(deployment)
        if failure is None:
            return {"metadata": meta, "spec": {}, "status": {"phase": "Running"}}
        ended = {"exitCode": failure.exit_code, "message": failure.message}
        told = {
            "name": failure.container,
            "ready": False,
            "state": {"waiting": {"reason": failure.waiting, "message": failure.message}},
            "lastState": {"terminated": ended},
        }
        return {
            "metadata": meta,
            "spec": {"containers": []},
            "status": {"phase": "Pending", "initContainerStatuses": [told]},
        }

    def _check(self) -> None:
        routed, after = self.routed(), self.config.retire_after_seconds
        for name in self.clusters():
            self._in_config_since.setdefault(name, self.now)
        for name in set(self._in_config_since) - self.clusters():
            del self._in_config_since[name]
        if routed != self._routed:
            assert routed is not None, "a router that had somewhere to go must not lose it"
            target = self.objects[Key("Deployment", NAMESPACE, f"{NAME}-{routed}")]
            assert target["status"]["readyReplicas"] >= 1, "traffic goes only to what is ready"
            if self._routed is not None:
                known = (self.now - self._in_config_since[routed]).total_seconds()
                assert known >= after, f"routers may not know cluster {routed} yet: in their files for {known} s"
                self._had_traffic_until[self._routed] = self.now
            self._routed = routed
        still = {name for name, end in self._had_traffic_until.items() if (self.now - end).total_seconds() < after}
        for name in still | ({routed} if routed else set()):
            assert name in self.clusters(), f"{name} may get traffic and the router does not know it"
            for kind in ("Deployment", "Service"):
                assert Key(kind, NAMESPACE, f"{NAME}-{name}") in self.objects, (
                    f"{name} may get traffic and has no {kind}"
                )


def _condition(kind: str, status: bool, reason: str) -> Object:
    return {
        "type": kind,
        "status": str(status),
        "reason": reason,
        "message": f"{kind} because {reason}.",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


CORRUPTED = Failure()
LONG = 300.0
"""Seconds after which everything that comes by itself has come."""


def served(world: ServingWorld, character: str = "a", **spec: Any) -> str:
    """A deployment at rest that serves the artifact made of `character`; its revision."""
    world.compressed(character)
    world.deploy(**spec)
    world.look()
    world.live(LONG)
    assert world.status["phase"] == "Ready", world.status
    found: str = world.status["stable"]["revision"]
    return found


def stands(world: ServingWorld) -> tuple[str, str, str, str]:
    """phase, Ready's reason, Reconciling, Stalled."""
    ready = world.condition("Ready")
    others = [world.condition(kind)["status"] for kind in ("Reconciling", "Stalled")]
    return world.status["phase"], ready["reason"], others[0], others[1]
