"""simulated_cluster: a control plane with limits that do not bind, and fake nodes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from localcluster import Cluster, paths
from simulation.nodes import FakeNodes

AUDIT_POLICY = Path(__file__).with_name("audit.yaml")
RAISED = ["--kube-api-qps=1000", "--kube-api-burst=2000"]
"""Of the controller manager and the scheduler. With less, they are what every Job waits for, whoever makes it."""
PATIENT = ["--node-monitor-grace-period=10m"]
"""Of the controller manager: on a busy machine a node that answers late is not lost."""
NODES, GPUS = 10, 1_000
"""Room for every pod at once: a pod that does not fit would measure the scheduler's retries."""


@contextmanager
def simulated_cluster(
    name: str, crds: Sequence[Path] = (), *, run_seconds: float = 1.0, audit: bool = False
) -> Iterator[Cluster]:
    """A fresh control plane with CRDs and fake nodes; gone afterwards. `audit`: the API server writes `audit_log`."""
    extra = {"kube-controller-manager": [*RAISED, *PATIENT], "kube-scheduler": RAISED}
    if audit:
        log = audit_log(name)
        extra["kube-apiserver"] = [f"--audit-policy-file={AUDIT_POLICY}", f"--audit-log-path={log}"]
    cluster = Cluster(name, control_plane_only=True, scheduler=True, extra_args=extra, say=lambda line: None)
    cluster.down()  # what a killed run may have left
    try:
        cluster.up()
        for manifest in crds:
            cluster.kubectl("apply", "--server-side", "-f", str(manifest), stdout=subprocess.DEVNULL)
        if crds:
            wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]
            cluster.kubectl(*wait, stdout=subprocess.DEVNULL)
        with FakeNodes(cluster, NODES, run_seconds=run_seconds, gpus=GPUS):
            yield cluster
    finally:
        cluster.down()


def audit_log(name: str) -> Path:
    """Where the API server of a cluster writes its requests down."""
    return paths.layout(name).logs / "audit.log"
