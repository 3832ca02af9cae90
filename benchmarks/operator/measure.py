"""Measures: what processes used and what the API server was asked for, before and after."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures import Figures, latencies
from sides import NAMESPACE, SIDES
from simulation.controlplane import simulated_cluster
from simulation.observe import ENDED, TOLD
from simulation.requests import Request, requests_in
from simulation.trial import Observed, trial
from simulation.usage import Peak, cpu_seconds

from localcluster import Cluster, processes

AGE_SECONDS = 35.0
"""The garbage collector looks for new kinds every 30 s; a cluster younger than that asks for each owner by itself."""
SETTLE_SECONDS = 5.0
"""After the last run, until what it leaves behind is done: late writes belong to the runs too."""
COMPONENTS = ("kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kwok")
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Snapshot:
    """What was used so far."""

    cpu: dict[str, float]
    requests: Counter[Request]

    @classmethod
    def take(cls, cluster: Cluster, controllers: dict[str, int]) -> Snapshot:
        """CPU seconds of the controllers and of the cluster's components, and the API server's requests."""
        pids = dict(controllers)
        for name in COMPONENTS:
            process = processes.recorded(cluster.layout.state, name)
            assert process is not None, f"{name} is not running"
            pids[name] = process.pid
        # CPU first: reading the metrics costs the API server some.
        cpu = {name: cpu_seconds(pid) for name, pid in pids.items()}
        return cls(cpu, requests_in(cluster.api().request("GET", "/metrics")))

    def since(self, before: Snapshot) -> Snapshot:
        """What was used between two snapshots."""
        cpu = {name: seconds - before.cpu[name] for name, seconds in self.cpu.items()}
        return Snapshot(cpu, self.requests - before.requests)


@contextmanager
def bench_cluster(side: str, *, audit: bool = False) -> Iterator[Cluster]:
    """A fresh cluster for one side, with the namespace of the runs. Fresh, so that every side begins with an API
    server and an etcd of the same age and size."""
    with simulated_cluster(f"bench-{side}", SIDES[side].crds(), audit=audit) as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE, stdout=subprocess.DEVNULL)
        time.sleep(AGE_SECONDS)
        yield cluster


def patience(runs: int) -> float:
    """How long that many runs may take at most."""
    return 300 + 1.0 * runs


def _late(seen: Observed) -> str:
    """How late results were told. A stage whose pod ended half a minute ago without a Report is run again; a real pod
    ends after it has told."""
    late = [run[TOLD] - run[ENDED] for run in seen.runs.values() if TOLD in run]
    return f"; the last Report came {max(late):.1f} s after its pod's end" if late else ""


def measure(side: str, runs: int, folder: Path) -> tuple[Figures, Counter[Request]]:
    """The figures of `runs` runs at once on one side, and what was asked of the API server."""
    found = SIDES[side]
    with bench_cluster(side) as cluster, found.running(cluster, folder) as controllers:
        before = Snapshot.take(cluster, controllers)
        with Peak(controllers.values()) as memory:
            seen = trial(cluster.kubeconfig, folder, found.objects(range(runs)), found.watched, runs, patience(runs))
            time.sleep(SETTLE_SECONDS)
        used = Snapshot.take(cluster, controllers).since(before)
    if seen.failed or seen.jobs != runs:
        raise RuntimeError(f"{side}: {len(seen.failed)} failed, {seen.jobs} Jobs for {runs} runs{_late(seen)}")
    return {
        **latencies(seen, found.watched.reports),
        "controllers_peak_mb": round(memory.bytes / MEGABYTE, 1),
        "controllers_cpu_ms_per_run": round(1000 * sum(used.cpu[name] for name in controllers) / runs, 2),
        "apiserver_cpu_s": round(used.cpu["kube-apiserver"], 2),
        "cpu_s": {name: round(seconds, 2) for name, seconds in used.cpu.items()},
        "requests_per_run": round(used.requests.total() / runs, 2),
        "requests": {" ".join(key): count for key, count in used.requests.most_common()},
    }, used.requests
