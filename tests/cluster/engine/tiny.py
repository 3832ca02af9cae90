"""The operator with one tiny controller, for the tests of the engine: no meaning, only children and a status.

A Dataset becomes a ConfigMap `<name>-config` (applied; its content is spec.rerun and the environment's TINY_WRITER),
a ConfigMap `<name>-once` (created), while spec.backoffLimit > 0 a ConfigMap `<name>-extra`, and where the cluster
serves PodMonitors one of those. The token "explode" makes plan() raise.
"""

import os
import sys

from kaon.controllers.base import Child, Controller, EventRecord, Key, Object, Observed, Plan
from kaon.engine.main import main
from kaon.resources import labels

WRITER = os.environ.get("TINY_WRITER", "tiny")


def config_map(observed: Observed, name: str, data: dict[str, str]) -> Object:
    meta = observed.obj["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{meta['name']}-{name}",
            "namespace": meta["namespace"],
            "labels": {labels.MANAGED_BY: labels.MANAGER, labels.OWNER_UID: meta["uid"]},
        },
        "data": data,
    }


def pod_monitor(observed: Observed) -> Object:
    found = config_map(observed, "monitor", {})
    del found["data"]
    return {**found, "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "spec": {"selector": {}}}


def plan(observed: Observed) -> Plan:
    spec = observed.obj["spec"]
    token = spec.get("rerun", "none")
    if token == "explode":
        raise RuntimeError("told to explode")
    children = [
        Child(config_map(observed, "config", {"token": token, "writer": WRITER})),
        Child(config_map(observed, "once", {"made": str(observed.now)}), mode="create"),
    ]
    if spec.get("backoffLimit", 0) > 0:
        children.append(Child(config_map(observed, "extra", {})))
    if "PodMonitor" in observed.capabilities:
        children.append(Child(pod_monitor(observed)))
    status: Object = {"phase": "Succeeded", "observedGeneration": observed.obj["metadata"]["generation"]}
    return Plan(tuple(children), status, events=(EventRecord("Normal", "Planned", f"The token is {token}."),))


def references(obj: Object) -> frozenset[Key]:
    return frozenset()


if __name__ == "__main__":
    main(sys.argv[1:], (Controller("Dataset", plan, references),))
