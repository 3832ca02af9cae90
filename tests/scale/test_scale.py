"""Many runs and pipelines at once, in a real control plane with fake nodes: all end well, each Job is made once, and
the API server is asked for little. Counts are asserted and never times, so that a busy machine changes nothing.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulation import JobSide, kaonoperator, manifests
from simulation.controlplane import audit_log, simulated_cluster
from simulation.observe import Watched
from simulation.requests import WRITES, breakdown, requests_by_agent
from simulation.trial import trial
from simulation.usage import Peak

from localcluster import Cluster

ROOT = Path(__file__).parents[2]
RUNS, PIPELINES = 60, 10
REQUESTS_OF_KAON = 8
"""A run's: made by the user 1, its Job 1, its Report 1, what the pod reads and writes there 2, its status at most 3."""
REQUESTS_PER_RUN = 20
"""Of everybody. Twelve or more of them are the Job's and the pod's own, and more when a busy machine slows them down;
what a run costs on a quiet machine is what benchmarks/operator measures."""
PATIENCE_SECONDS = 300.0
REST_SECONDS = 5.0
IDLE_SECONDS = 15.0
PEAK_BYTES = 150_000_000
AGENT = "kaon-operator"
COLLECTOR = "kube-controller-manager system:serviceaccount:kube-system:generic-garbage-collector"
"""Asks for each owner of a kind that is younger than half a minute; later it watches the kind."""
OF_KAON = frozenset({AGENT, "simulation-load", "simulation-jobside"})

Agents = Counter[tuple[str, str, str]]


class World:
    """A cluster with an operator, and what was asked of its API server so far."""

    def __init__(self, cluster: Cluster, operator: kaonoperator.KaonOperator, folder: Path) -> None:
        self.cluster, self.operator, self.folder = cluster, operator, folder

    def requests(self) -> Agents:
        """Every request so far, by user agent."""
        with audit_log(self.cluster.name).open("rb") as lines:
            return requests_by_agent(lines)

    def writes(self) -> Agents:
        """What the operator wrote so far, leases apart."""
        return Counter({key: count for key, count in self.requests().items() if key[0] == AGENT and key[1] in WRITES})

    def rest(self) -> None:
        """Wait until the operator has written nothing for a while."""
        deadline, before = time.monotonic() + PATIENCE_SECONDS, Counter({("", "", ""): 1})
        while (now := self.writes()) != before:
            assert time.monotonic() < deadline, f"the operator does not come to rest; it wrote\n{breakdown(now, 1)}"
            before = now
            time.sleep(REST_SECONDS)

    def count(self, kind: str, namespace: str) -> int:
        """How many objects of a kind there are."""
        arguments = ["get", kind, "-n", namespace, "-o", "name"]
        return len(self.cluster.kubectl(*arguments, stdout=subprocess.PIPE, text=True).stdout.split())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("scale")
    with simulated_cluster(f"scale-{os.getpid()}", [ROOT / "crds"], audit=True) as cluster:
        for namespace in ("runs", "pipelines"):
            cluster.kubectl("create", "namespace", namespace, stdout=subprocess.DEVNULL)
        with (
            JobSide(cluster.kubeconfig, after_seconds=0.9) as pods,
            kaonoperator.leading(
                cluster.kubeconfig, folder / "operator.log", "--retire-after-seconds", "2"
            ) as operator,
        ):
            yield World(cluster, operator, folder)
            assert not pods.undelivered


def watched(plural: str, namespace: str, **more: bool) -> Watched:
    return Watched(manifests.collection(namespace, plural), "Ready", namespace, "kaon.dev/owner", **more)


def test_every_run_of_a_burst_is_made_once_and_costs_few_requests(world: World) -> None:
    data = (manifests.collection("runs", "datasets"), manifests.dataset("data"))
    trial(world.cluster.kubeconfig, world.folder, [data], watched("datasets", "runs"), 1, PATIENCE_SECONDS)
    world.rest()
    before = world.requests()
    path = manifests.collection("runs", "trainingruns")
    runs = [(path, manifests.training_run(f"run-{number}", "data", number)) for number in range(RUNS)]

    with Peak([world.operator.pid]) as memory:
        seen = trial(
            world.cluster.kubeconfig, world.folder, runs, watched("trainingruns", "runs"), RUNS, PATIENCE_SECONDS
        )
    world.rest()

    asked = Counter({key: count for key, count in (world.requests() - before).items() if key[0] != COLLECTOR})
    assert not seen.failed
    assert seen.jobs == RUNS
    of_kaon = sum(count for key, count in asked.items() if key[0] in OF_KAON)
    told = f"requests for a run:\n{breakdown(asked, RUNS)}"
    assert of_kaon / RUNS <= REQUESTS_OF_KAON, told
    assert asked.total() / RUNS <= REQUESTS_PER_RUN, told
    assert 0 < memory.bytes < PEAK_BYTES


def test_whole_pipelines_end_with_a_deployment_that_is_ready_and_three_jobs_each(world: World) -> None:
    pipelines = [
        (manifests.collection("pipelines", plural), resource)
        for number in range(PIPELINES)
        for plural, resource in manifests.pipeline(f"pipe-{number}")
    ]
    ready = watched("modeldeployments", "pipelines", jobs=False)
    seen = trial(world.cluster.kubeconfig, world.folder, pipelines, ready, PIPELINES, PATIENCE_SECONDS)
    assert len(seen.runs) == PIPELINES
    created = [count for key, count in world.requests().items() if key == (AGENT, "POST", "jobs")]
    assert world.count("jobs", "pipelines") == 3 * PIPELINES
    assert created == [1 + RUNS + 3 * PIPELINES]


def test_an_operator_at_rest_writes_nothing(world: World) -> None:
    world.rest()
    before = world.writes()
    time.sleep(IDLE_SECONDS)
    told = world.writes() - before
    assert not told, f"while nothing happened the operator wrote\n{breakdown(told, 1)}"
    assert world.operator.metric("kaon_leader") == 1
