"""Fixtures of the cluster tests: a real API server without a node, a fresh namespace, the operator as a process.

`api_cluster` brings up etcd, kube-apiserver and kube-controller-manager once a session and installs crds/. Pods stay
Pending there: a test that needs a finished Job writes its status itself.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Kubectl, OperatorProcess, StartOperator, eventually

from localcluster import Cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[Cluster]:
    """A control plane without Kaon's CRDs."""
    cluster = Cluster(f"bare-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def api_cluster() -> Iterator[Cluster]:
    """A control plane with Kaon's CRDs."""
    cluster = Cluster(f"api-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    cluster.up()
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"), capture_output=True)
    cluster.wait_for_crds()
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def kubectl(api_cluster: Cluster) -> Kubectl:
    """kubectl as the cluster's admin."""
    return Kubectl(api_cluster.tool("kubectl"), api_cluster.kubeconfig)


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A fresh namespace, deleted afterwards without waiting."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def start_operator(api_cluster: Cluster, namespace: str) -> Iterator[StartOperator]:
    """Starts operators, and stops them in the end.

    start_operator(*flags, program=["-m", "kaon.engine.main"], kubeconfig=…, ready=True, **environment). Each has a
    Lease of its own test namespace, so that tests do not wait for each other's leaders.
    """
    started: list[OperatorProcess] = []

    def start(
        *flags: str,
        program: list[str] | None = None,
        kubeconfig: Path | None = None,
        ready: bool = True,
        **environment: str,
    ) -> OperatorProcess:
        operator = OperatorProcess(
            kubeconfig or api_cluster.kubeconfig,
            ["--lease-namespace", namespace, *flags],
            program or ["-m", "kaon.engine.main"],
            environment,
        )
        started.append(operator)
        return operator.wait_ready() if ready else operator

    yield start
    for operator in started:
        operator.stop()


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """eventually(look, what, seconds=20): the first truthy thing that `look` returns."""
    return eventually
