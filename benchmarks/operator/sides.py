"""The sides of the comparison: who makes the Jobs, of which resources, and how it is seen that a run is complete.

All run the same pod: bare Jobs are the very Jobs that Kaon makes, and the peer's runtime has their pod template.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import peer
from simulation import kaonoperator, manifests
from simulation.client import Object
from simulation.observe import Watched
from simulation.programs import Program

from kaon.api.trainingrun import TrainingRunSpec
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import InputArtifact, JobSpec, Provenance, StoreAccess, TrainWork
from kaon.resources.access import JOB_IDENTITY
from kaon.resources.base import Images
from kaon.resources.job import job
from kaon.resources.podpolicy import PodPolicy
from localcluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "bench"
DATASET = "data"
REPORT_SECONDS = 0.9
"""When a pod of one second tells its result: its last act."""
IMAGES = Images(jobs="kaon/jobs", triton="kaon/triton", torchserve="kaon/torchserve", router="kaon/router")


class Side(Protocol):
    """One of the things compared."""

    watched: Watched

    def crds(self) -> list[Path]:
        """Files or folders of CustomResourceDefinitions."""

    def running(self, cluster: Cluster, folder: Path) -> AbstractContextManager[dict[str, int]]:
        """Its controllers, ready, in a cluster with the namespace. Gives their names and processes."""

    def objects(self, runs: Iterable[int]) -> Iterator[tuple[str, Object]]:
        """(collection path, object) of runs by number: what a user creates."""


class Bare:
    """batch/v1 Jobs, made by the user: the floor."""

    watched = Watched(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", "Complete", NAMESPACE, None)

    def crds(self) -> list[Path]:
        return []

    @contextmanager
    def running(self, cluster: Cluster, folder: Path) -> Iterator[dict[str, int]]:
        cluster.kubectl("create", "serviceaccount", JOB_IDENTITY, "-n", NAMESPACE, stdout=subprocess.DEVNULL)
        yield {}

    def objects(self, runs: Iterable[int]) -> Iterator[tuple[str, Object]]:
        return ((self.watched.resources, training_job(number)) for number in runs)


class Peer:
    """TrainJobs of Kubeflow Trainer, which makes JobSets, which make Jobs."""

    watched = Watched(peer.collection(NAMESPACE), "Complete", NAMESPACE, peer.OWNER_LABEL)

    def crds(self) -> list[Path]:
        return peer.crds()

    @contextmanager
    def running(self, cluster: Cluster, folder: Path) -> Iterator[dict[str, int]]:
        cluster.kubectl("create", "serviceaccount", JOB_IDENTITY, "-n", NAMESPACE, stdout=subprocess.DEVNULL)
        with peer.running(cluster, folder, training_job(0)["spec"]["template"]["spec"]) as processes:
            yield processes

    def objects(self, runs: Iterable[int]) -> Iterator[tuple[str, Object]]:
        return ((self.watched.resources, peer.train_job(f"run-{number}", number)) for number in runs)


class Kaon:
    """TrainingRuns. Their pods' Reports are written by a process of its own."""

    watched = Watched(
        manifests.collection(NAMESPACE, "trainingruns"), "Ready", NAMESPACE, "kaon.dev/owner", reports=True
    )

    def crds(self) -> list[Path]:
        return [ROOT / "crds"]

    @contextmanager
    def running(self, cluster: Cluster, folder: Path) -> Iterator[dict[str, int]]:
        kubeconfig = cluster.kubeconfig
        with (
            pods(cluster, folder),
            kaonoperator.leading(kubeconfig, folder / "operator.log") as operator,
        ):
            create(cluster, manifests.dataset(DATASET))
            await_ready(cluster)
            yield {"kaon-operator": operator.pid}

    def objects(self, runs: Iterable[int]) -> Iterator[tuple[str, Object]]:
        path = self.watched.resources
        return ((path, manifests.training_run(f"run-{number}", DATASET, number)) for number in runs)


SIDES: dict[str, Side] = {"bare": Bare(), "peer": Peer(), "kaon": Kaon()}


@contextmanager
def pods(cluster: Cluster, folder: Path) -> Iterator[None]:
    """The process that writes the Reports of Kaon's pods."""
    told = ["--kubeconfig", str(cluster.kubeconfig), "--after", str(REPORT_SECONDS)]
    with Program.python("simulation.jobside", *told, log=folder / "jobside.log") as program:
        program.expect("watching")
        yield


def await_ready(cluster: Cluster) -> None:
    """Wait until the Dataset is ready and its Job has ended, so that nothing of them happens among the runs."""
    for what in ([f"dataset/{DATASET}", "--for=condition=Ready"], ["job", "--all", "--for=condition=Complete"]):
        cluster.kubectl("wait", *what, "-n", NAMESPACE, "--timeout=120s", stdout=subprocess.DEVNULL)


def create(cluster: Cluster, obj: Object) -> None:
    """Create one object in the namespace."""
    cluster.kubectl("create", "-n", NAMESPACE, "-f", "-", input=json.dumps(obj), text=True, stdout=subprocess.DEVNULL)


def training_job(number: int) -> Object:
    """The Job that Kaon makes for a run, as a user would write it: without what says that it is Kaon's."""
    name = f"run-{number}"
    run = manifests.training_run(name, DATASET, number)
    spec = TrainingRunSpec.model_validate(run["spec"])
    digest = digest_of({"seed": number})
    data = InputArtifact(uri=f"{kaonoperator.STORE}/datasets/{digest[7:]}", digest=digest)
    work = TrainWork(
        task="text-classification", dataset=data, model=spec.model, recipe=spec.recipe, checkpoint=spec.checkpoint
    )
    who = Provenance(
        kind="TrainingRun",
        namespace=NAMESPACE,
        name=name,
        uid="00000000-0000-0000-0000-000000000000",
        generation=1,
        kaon_version="0",
        image=IMAGES.jobs,
    )
    output = StoreAccess(uri=f"{kaonoperator.STORE}/{NAMESPACE}/trainingruns")
    told = JobSpec(provenance=who, input_digest=digest, declaration=digest, report=name, output=output, work=work)
    owner = {**run, "metadata": {"name": name, "namespace": NAMESPACE, "uid": who.uid}}
    made = job(owner, spec, told, IMAGES, secrets=frozenset(), limits=PodPolicy().stage_limits)
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        metadata["labels"] = {"app": "training"}
    return made
