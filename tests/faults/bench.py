"""The cluster that runs happen in: a control plane with Kaon's CRDs, fake nodes, and the pods' side of the Jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from simulation import FakeNodes, JobSide
from simulation.client import Client, Object

from localcluster import Cluster

CRDS = Path(__file__).resolve().parents[2] / "crds"
RUN_SECONDS = 0.3
SLOW_SECONDS = 4.0
"""For tests in which something happens while a stage runs: long enough for "Running" to be told, which is no news."""


class Pods(JobSide):
    """Pods that say nothing any more once they are being deleted."""

    def __init__(self, kubeconfig: Path, *, after_seconds: float) -> None:
        super().__init__(kubeconfig, after_seconds=after_seconds)
        self._reporting: dict[str, asyncio.Task[None]] = {}

    def _take(self, client: Client, pod: Object) -> None:
        meta, before = pod["metadata"], set(self._tasks)
        super()._take(client, pod)
        for task in self._tasks - before:
            self._reporting[meta["uid"]] = task
        if "deletionTimestamp" in meta and meta["uid"] in self._reporting:
            self._reporting[meta["uid"]].cancel()


@contextmanager
def control_plane(name: str, keep: bool = False) -> Iterator[Cluster]:
    """A cluster without a node, with Kaon's CRDs; one that exists already is taken. keep: it is left running."""
    cluster = Cluster(name, control_plane_only=True, scheduler=True, say=lambda line: None)
    with ExitStack() as stack:
        if not keep:
            stack.callback(cluster.down)
        cluster.up()
        install_crds(cluster)
        yield cluster


def install_crds(cluster: Cluster, folder: Path = CRDS) -> None:
    """Apply Kaon's CRDs, and wait until they are served."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(folder), capture_output=True)
    cluster.wait_for_crds()


@contextmanager
def stages(cluster: Cluster, run_seconds: float = RUN_SECONDS) -> Iterator[None]:
    """Fake nodes on which a stage's pod runs so long, and its report at two thirds of that."""
    side = Pods(cluster.kubeconfig, after_seconds=run_seconds * 2 / 3)
    with FakeNodes(cluster, run_seconds=run_seconds), side:
        yield
