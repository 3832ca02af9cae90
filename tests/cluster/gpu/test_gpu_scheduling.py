"""GPU requests reach the scheduler: fake nodes with GPUs (kwok), a real API server, scheduler and operator."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Kubectl, OperatorProcess, eventually
from knownkeys import signed, told

from localcluster import Cluster

ROOT = Path(__file__).parents[3]
Object = dict[str, Any]
NAMESPACE = "gpu"
DATASET_RESULT = {
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:00:09Z",
    "cost": {},
    "reused": False,
    "artifact": {"uri": "s3://kaon/artifacts/datasets/x", "digest": "sha256:" + "a" * 64, "sizeBytes": 9},
    "dataset": {
        "rows": {"train": 80, "validation": 10, "test": 10},
        "classes": ["ham", "spam"],
        "quality": {
            "rowsRead": 100, "missing": 0, "duplicates": 0, "missingRatio": 0, "duplicateRatio": 0, "leakage": 0,
            "leakageRemoved": 0, "minRowsPerClass": 40, "smallestClass": "ham",
        },
    },
}  # fmt: skip


def node(name: str, capacity: Object, **meta: Any) -> Object:
    status = {"cpu": "32", "memory": "64Gi", "pods": "110", **capacity}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, **meta.get("metadata", {})},
        "spec": meta.get("spec", {}),
        "status": {"allocatable": status, "capacity": status},
    }


NODES = [
    node("cpu-1", {}),
    node(
        "gpu-1",
        {"nvidia.com/gpu": "2"},
        metadata={"labels": {"gpu": "a100"}},
        spec={"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
    ),
]
RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1",
    "kind": "RuntimeClass",
    "metadata": {"name": "nvidia"},
    "handler": "nvidia",
}
DATASET = {
    "apiVersion": "kaon.dev/v1alpha1",
    "kind": "Dataset",
    "metadata": {"name": "data", "namespace": NAMESPACE},
    "spec": {
        "task": "text-classification",
        "sources": [{"uri": "s3://raw/data.csv"}],
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
    },
}


def training(name: str, template: Object) -> Object:
    return {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"datasetRef": {"name": "data"}, "model": {"base": "s3://models/x"}, "podTemplate": template},
    }


@pytest.fixture(scope="module")
def gpu_cluster() -> Iterator[Cluster]:
    """A control plane with a scheduler, two fake nodes, and a ready Dataset."""
    cluster = Cluster(f"gpu-{os.getpid()}", control_plane_only=True, scheduler=True, say=lambda line: None)
    kwok = None
    try:
        cluster.up()
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"), capture_output=True)
        cluster.wait_for_crds()
        cluster.kubectl("create", "namespace", NAMESPACE, capture_output=True)
        kwok = subprocess.Popen(
            [str(cluster.tool("kwok")), "--kubeconfig", str(cluster.kubeconfig), "--manage-all-nodes"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield cluster
    finally:
        if kwok is not None:
            kwok.terminate()
            kwok.wait(10)
        cluster.down()


@pytest.fixture(scope="module")
def gpu_kubectl(gpu_cluster: Cluster) -> Kubectl:
    return Kubectl(gpu_cluster.tool("kubectl"), gpu_cluster.kubeconfig)


@pytest.fixture(scope="module")
def with_data(gpu_cluster: Cluster, gpu_kubectl: Kubectl) -> Iterator[Kubectl]:
    """A running operator and a ready Dataset."""
    flags = ["--lease-namespace", NAMESPACE, "--storage-uri", "s3://kaon/artifacts"]
    operator = OperatorProcess(gpu_cluster.kubeconfig, flags, ["-m", "kaon.engine.main"], {})
    try:
        operator.wait_ready()
        gpu_kubectl.apply(*NODES, RUNTIME_CLASS, DATASET)
        report = eventually(lambda: gpu_kubectl.list("reports", NAMESPACE), "a Report of the Dataset")[0]
        name = report["metadata"]["name"]
        gpu_kubectl.patch_status("reports", name, NAMESPACE, signed(told(report), DATASET_RESULT))
        gpu_kubectl("wait", "dataset/data", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=20s")
        yield gpu_kubectl
    finally:
        operator.stop()


def pod_of(kubectl: Kubectl, name: str) -> Object | None:
    pods = kubectl.list("pods", NAMESPACE, f"kaon.dev/owner={name}")
    return pods[0] if pods and pods[0]["spec"].get("nodeName") else None


def test_a_gpu_request_with_its_toleration_lands_on_the_gpu_node(with_data: Kubectl) -> None:
    template = {
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "runtimeClassName": "nvidia",
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    with_data.apply(training("on-gpu", template))
    pod = eventually(lambda: pod_of(with_data, "on-gpu"), "a scheduled pod")
    assert pod["spec"]["nodeName"] == "gpu-1"
    assert pod["spec"]["runtimeClassName"] == "nvidia"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_run_without_a_gpu_stays_off_the_tainted_node(with_data: Kubectl) -> None:
    with_data.apply(training("on-cpu", {}))
    pod = eventually(lambda: pod_of(with_data, "on-cpu"), "a scheduled pod")
    assert pod["spec"]["nodeName"] == "cpu-1"


def test_more_gpus_than_any_node_has_is_told_in_the_condition_and_starts_when_a_node_comes(with_data: Kubectl) -> None:
    template = {
        "resources": {"limits": {"nvidia.com/gpu": 8}},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    }
    with_data.apply(training("too-big", template))

    def unschedulable() -> str | None:
        obj = with_data.get("trainingrun", "too-big", NAMESPACE)
        conditions = obj.get("status", {}).get("conditions", [])
        return next((c["message"] for c in conditions if c["type"] == "Ready" and c["reason"] == "Unschedulable"), None)

    assert "Insufficient nvidia.com/gpu" in eventually(unschedulable, "the reason Unschedulable")
    with_data.apply(node("gpu-8", {"nvidia.com/gpu": "8"}))
    pod = eventually(lambda: pod_of(with_data, "too-big"), "a scheduled pod")
    assert pod["spec"]["nodeName"] == "gpu-8"
