"""CustomResourceDefinitions that come and go under a running operator: what happens, and how soon it is made good.

`python tests/cluster/crd_accidents.py` brings up a control plane, goes through all accidents until there are
`--tries` of them, and prints a line for each: how long a new object of each kind waited for its first status. 1 when
one waited longer than LIMIT_SECONDS.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]

import yaml  # noqa: E402
from harness import Kubectl, Object, OperatorProcess, eventually  # noqa: E402

from localcluster import Cluster  # noqa: E402

LIMIT_SECONDS = 5.0
ABSENT_SECONDS = 4.0
"""How long a kind stays away, where it does."""
CRDS = {yaml.safe_load(file.read_text())["spec"]["names"]["kind"]: file for file in (ROOT / "crds").glob("*.yaml")}
KINDS = ("Dataset", "TrainingRun", "CompressionJob", "ModelDeployment")
SPECS: dict[str, Object] = {
    "Dataset": {
        "task": "text-classification",
        "sources": [{"uri": "s3://bucket/rows.csv"}],
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
    },
    "TrainingRun": {"datasetRef": {"name": "none"}, "model": {"base": "s3://models/tiny"}},
    "CompressionJob": {"modelRef": {"kind": "TrainingRun", "name": "none"}, "budget": {"maxDrop": {"accuracy": 0.01}}},
    "ModelDeployment": {"modelRef": {"kind": "CompressionJob", "name": "none"}},
}


class Scene:
    """A control plane, a namespace and an operator in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.kubectl = Kubectl(cluster.tool("kubectl"), cluster.kubeconfig)
        self.namespace = f"crds-{uuid.uuid4().hex[:8]}"
        self.operator: OperatorProcess | None = None
        self._names = (f"o{number}" for number in itertools.count())

    @contextmanager
    def opened(self) -> Iterator[Scene]:
        """With the namespace and, as far as it was started, the operator; all CRDs are there before."""
        self.install(*CRDS)
        self.kubectl("create", "namespace", self.namespace)
        try:
            yield self
        finally:
            if self.operator is not None:
                self.operator.stop()
            self.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def start(self, ready: bool = True) -> OperatorProcess:
        """Start the operator."""
        flags = ["--storage-uri", "s3://kaon/artifacts", "--lease-namespace", self.namespace]
        self.operator = OperatorProcess(self.kubectl.kubeconfig, flags, ["-m", "kaon.engine.main"], {})
        return self.operator.wait_leading() if ready else self.operator

    def install(self, *kinds: str) -> None:
        """Make CRDs, and wait until the API server says that they are served."""
        self.kubectl("apply", "--server-side", *_files(kinds))
        self.kubectl(
            "wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{_plural(kind)}" for kind in kinds)
        )

    def remove(self, *kinds: str) -> None:
        """Delete CRDs, and wait until they are gone."""
        self.kubectl("delete", "--ignore-not-found", *_files(kinds))

    def create(self, kind: str) -> str:
        """Create an object of a kind, as soon as the API server takes it."""
        made = next(self._names)
        text = json.dumps(self.manifest(kind, made))
        eventually(lambda: "created" in self.kubectl("create", "-f", "-", stdin=text, check=False), f"{kind} created")
        return made

    def manifest(self, kind: str, name: str) -> Object:
        """An object of a kind."""
        meta = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "kaon.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": SPECS[kind]}

    def has_status(self, kind: str, name: str) -> bool:
        """Whether the operator has looked at an object."""
        return bool((self.kubectl.get(kind, name, self.namespace) or {}).get("status"))

    def seen_after(self, *kinds: str) -> float:
        """Seconds that new objects, one of each kind, wait for their first status; the longest of them."""
        began = {kind: (self.create(kind), time.monotonic()) for kind in kinds}
        took = 0.0
        for kind, (name, since) in began.items():
            eventually(lambda kind=kind, name=name: self.has_status(kind, name), f"a status of {kind}", 60.0)
            took = max(took, time.monotonic() - since)
        return took

    def told(self) -> OperatorProcess:
        """The operator that was started."""
        assert self.operator is not None
        return self.operator


def _status(obj: Object) -> Object:
    found: Object = obj.get("status", {})
    return found


def _plural(kind: str) -> str:
    return str(yaml.safe_load(CRDS[kind].read_text())["metadata"]["name"])


def _files(kinds: tuple[str, ...]) -> list[str]:
    return [part for kind in kinds for part in ("-f", str(CRDS[kind]))]


@dataclass(frozen=True, slots=True)
class Accident:
    """Something that happens to CRDs. `go` returns how long new objects waited after it."""

    name: str
    go: Callable[[Scene, str], float]
    """(scene, one of KINDS)"""


def _again_at_once(scene: Scene, kind: str) -> float:
    scene.start()
    scene.seen_after(*KINDS)
    scene.remove(kind)
    scene.install(kind)
    return scene.seen_after(kind)


def _again_later(scene: Scene, kind: str) -> float:
    scene.start()
    scene.remove(kind)
    eventually(lambda: scene.told().metric("kaon_watch_up", kind=kind) == 0, f"{kind} is told as not watched", 10.0)
    eventually(lambda: f"{kind} (not served)" in scene.told().probe("/readyz")[1], "readyz names the kind", 10.0)
    others = [other for other in KINDS if other != kind]
    meanwhile = scene.seen_after(*others)
    time.sleep(ABSENT_SECONDS)
    scene.install(kind)
    return max(meanwhile, scene.seen_after(kind))


def _twice(scene: Scene, kind: str) -> float:
    scene.start()
    for _ in range(2):
        scene.remove(kind)
        scene.install(kind)
    return scene.seen_after(kind)


def _all_at_once(scene: Scene, kind: str) -> float:
    scene.start()
    scene.remove(*CRDS)
    scene.install(*CRDS)
    return scene.seen_after(*KINDS)


def _all_later(scene: Scene, kind: str) -> float:
    scene.start()
    scene.remove(*CRDS)
    time.sleep(ABSENT_SECONDS)
    scene.install(*CRDS)
    return scene.seen_after(*KINDS)


def _with_objects_in_it(scene: Scene, kind: str) -> float:
    """The objects go with the CRD. The same ones are applied again, as a Git tool does."""
    scene.start()
    names = [scene.create(kind) for _ in range(5)]
    for name in names:
        eventually(lambda name=name: scene.has_status(kind, name), "a status", 20.0)
    scene.remove(kind)
    scene.install(kind)
    scene.kubectl.apply(*(scene.manifest(kind, name) for name in names))
    began = time.monotonic()
    eventually(lambda: all(map(_status, scene.kubectl.list(kind, scene.namespace))), f"a status of each {kind}", 60.0)
    took = time.monotonic() - began
    eventually(
        lambda: scene.told().metric("kaon_resources", kind=kind) == 5, "no object but those that are there", 10.0
    )
    return took


def _reports(scene: Scene, kind: str) -> float:
    """A Report that went with its CRD is made again."""
    scene.start()
    name = scene.create("Dataset")

    def reports() -> list[Any]:
        return [item for item in scene.kubectl.list("report", scene.namespace) if item["metadata"]["name"][:2] == name]

    eventually(reports, "a Report", 20.0)
    scene.remove("Report")
    time.sleep(ABSENT_SECONDS)
    scene.install("Report")
    began = time.monotonic()
    eventually(reports, "the Report again", 60.0)
    return max(time.monotonic() - began, scene.seen_after("Dataset"))


def _not_served_for_a_while(scene: Scene, kind: str) -> float:
    """The CRD stays, and its version is switched off and on."""
    scene.start()
    name = scene.create(kind)
    eventually(lambda: scene.has_status(kind, name), "a status", 20.0)
    for served in ("false", "true"):
        patch = f'[{{"op": "replace", "path": "/spec/versions/0/served", "value": {served}}}]'
        scene.kubectl("patch", "crd", _plural(kind), "--type=json", "-p", patch)
        time.sleep(ABSENT_SECONDS)
    return scene.seen_after(kind)


def _made_late(scene: Scene, kind: str) -> float:
    """The operator is there before any CRD is."""
    scene.remove(*CRDS)
    operator = scene.start(ready=False)
    eventually(lambda: "its CustomResourceDefinition is missing" in operator.log, "the log says so")
    assert operator.probe("/readyz")[0] == 503
    scene.install(*CRDS)
    operator.wait_leading()
    return scene.seen_after(*KINDS)


def _one_made_late(scene: Scene, kind: str) -> float:
    """One CRD was deleted before the start. The others' objects are worked on all the same."""
    scene.remove(kind)
    scene.start(ready=False).wait_leading()
    meanwhile = scene.seen_after(*(other for other in KINDS if other != kind))
    scene.install(kind)
    return max(meanwhile, scene.seen_after(kind))


def _while_away(scene: Scene, kind: str) -> float:
    """The CRDs are replaced while no operator runs."""
    scene.start().stop()
    scene.remove(*CRDS)
    scene.install(*CRDS)
    scene.start()
    return scene.seen_after(*KINDS)


ACCIDENTS = (
    Accident("one CRD is deleted and made again at once", _again_at_once),
    Accident("all CRDs are deleted and made again at once", _all_at_once),
    Accident("one CRD is deleted and made again later", _again_later),
    Accident("all CRDs are deleted and made again later", _all_later),
    Accident("a CRD is replaced with objects in it", _with_objects_in_it),
    Accident("a CRD is deleted and made again twice", _twice),
    Accident("the CRD of Reports is deleted and made again", _reports),
    Accident("a version is not served for a while", _not_served_for_a_while),
    Accident("the CRDs are made after the operator has started", _made_late),
    Accident("one CRD is made after the operator has started", _one_made_late),
    Accident("the CRDs are replaced while no operator runs", _while_away),
)


def main() -> int:
    """Go through the accidents."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="chooses the kinds that the accidents happen to")
    options = parser.parse_args()
    cluster = Cluster(f"crds-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    late, chance = 0, random.Random(options.seed)
    try:
        cluster.up()
        for number, accident in zip(range(options.tries), itertools.cycle(ACCIDENTS)):
            kind = chance.choice(KINDS)
            with Scene(cluster).opened() as scene:
                took = accident.go(scene, kind)
            late += took > LIMIT_SECONDS
            print(f"{number + 1:3}  {took:5.2f} s  {accident.name} ({kind})", flush=True)
    finally:
        cluster.down()
    print(f"{options.tries - late} of {options.tries} within {LIMIT_SECONDS:.0f} s")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
