"""The real helm against a real API server without a node: pods are admitted there, and stay Pending."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import Cluster
from localcluster.tools import tool

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "kaon"
Helm = Callable[..., str]
# Everything a chart may leave behind. Events and endpoints come and go by themselves.
LEFT_BEHIND = (
    "crd,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,"
    "serviceaccounts,roles,rolebindings,secrets,configmaps,services,deployments,replicasets,pods,"
    "poddisruptionbudgets,networkpolicies,persistentvolumeclaims,leases"
)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm(*arguments, cluster=None, check=True): its output. Its folders are the test's own."""
    binary = tool("helm", lambda line: None)
    home = tmp_path_factory.mktemp("helm")
    folders = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}

    def run(*arguments: str, cluster: Cluster | None = None, check: bool = True) -> str:
        env = {**os.environ, **folders, **({"KUBECONFIG": str(cluster.kubeconfig)} if cluster else {})}
        done = subprocess.run([binary, *arguments], env=env, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout if check else done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[..., list[dict[str, Any]]]:
    """render(**values given as --set): the objects of the chart, namespace kaon-system."""

    def run(*settings: str) -> list[dict[str, Any]]:
        flags = [flag for setting in settings for flag in ("--set", setting)]
        text = helm("template", "kaon", str(CHART), "--namespace", "kaon-system", "--kube-version", "1.35", *flags)
        return [document for document in yaml.safe_load_all(text) if document]

    return run


@pytest.fixture(scope="session")
def crds_gone(bare_cluster: Cluster) -> Callable[[], None]:
    """crds_gone(): wait until the CRDs that are being deleted are gone.

    An API server that finds the storage of a new CRD "(re)initializing" while it deletes it may look again only five
    minutes later, or as soon as the CRD changes (kubernetes/kubernetes: CRDFinalizer.sync). So it is changed.
    """

    def wait() -> None:
        deleted = 'jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name}{"\\n"}{end}'
        deadline = time.monotonic() + 60
        while left := bare_cluster.kubectl("get", "crd", "-o", deleted, capture_output=True, text=True).stdout.split():
            assert time.monotonic() < deadline, f"still being deleted: {left}"
            time.sleep(1)
            nudge = ("annotate", "crd", *left, "--overwrite", f"kaon.dev/nudged={time.monotonic()}")
            bare_cluster.kubectl(*nudge, check=False, capture_output=True)

    return wait


@pytest.fixture
def cluster_objects(bare_cluster: Cluster) -> Callable[[], set[str]]:
    """All objects of the kinds that a chart may leave behind, as namespace/kind/name."""

    def look() -> set[str]:
        columns = "custom-columns=N:.metadata.namespace,K:.kind,M:.metadata.name"
        command = ("get", LEFT_BEHIND, "-A", "--no-headers", "-o", columns)
        text = bare_cluster.kubectl(*command, capture_output=True, text=True).stdout
        return {"/".join(line.split()) for line in text.splitlines()}

    return look


@pytest.fixture
def system(bare_cluster: Cluster) -> Iterator[str]:
    """A namespace for the operator, under Pod Security "restricted"."""
    yield from _namespace(bare_cluster, "system")


@pytest.fixture
def team(bare_cluster: Cluster) -> Iterator[str]:
    """A namespace with pipelines."""
    yield from _namespace(bare_cluster, "team")


def _namespace(cluster: Cluster, name: str) -> Iterator[str]:
    name = f"{name}-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name, capture_output=True)
    label = "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "namespace", name, label, capture_output=True)
    yield name
    cluster.kubectl("delete", "namespace", name, capture_output=True)


@pytest.fixture
def kube(bare_cluster: Cluster) -> Callable[..., str]:
    """kube(*arguments, check=True, stdin=None): kubectl's output."""

    def run(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
        done = bare_cluster.kubectl(*arguments, check=False, input=stdin, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout) if check else str(done.stdout + done.stderr)

    return run


@pytest.fixture
def kubeconfig_of(bare_cluster: Cluster, kube: Callable[..., str], tmp_path: Path) -> Callable[..., Path]:
    """kubeconfig_of(account, namespace, *flags of `kubectl create token`): a kubeconfig with a real token of it."""

    def make(account: str, namespace: str, *flags: str) -> Path:
        token = kube("create", "token", account, "-n", namespace, *flags).strip()
        config = yaml.safe_load(bare_cluster.kubeconfig.read_text())
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        path = tmp_path / f"{account}-{uuid.uuid4().hex[:6]}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    return make
