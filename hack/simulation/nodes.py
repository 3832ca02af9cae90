"""FakeNodes: nodes with GPUs on a control plane without one; kwok plays their kubelets. Pods run, those of Jobs end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from localcluster import Cluster, processes

STAGES = Path(__file__).with_name("stages.yaml")
LEASE_SECONDS = 40
NODE_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
PARALLEL_PODS = 16
"""How many pods kwok moves on at the same time; its own 4 would be what a burst waits for."""


class FakeNodes:
    """`count` nodes on which every pod starts, pods of Jobs succeed after `run_seconds` and all others stay Ready.

    A context manager. The cluster must run a scheduler (`Cluster(…, control_plane_only=True, scheduler=True)`).
    """

    def __init__(
        self,
        cluster: Cluster,
        count: int = 1,
        *,
        run_seconds: float = 1.0,
        start_seconds: float = 0.0,
        gpus: int = 8,
    ) -> None:
        self._cluster = cluster
        self._names = [f"fake-{number}" for number in range(count)]
        self._gpus = gpus
        self._delays = {"pod-ready": start_seconds, "pod-complete": run_seconds}
        self._process: processes.Process | None = None

    @property
    def pid(self) -> int:
        """kwok's process, while the context lasts."""
        assert self._process is not None, "there are no nodes outside of the context"
        return self._process.pid

    def __enter__(self) -> FakeNodes:
        if not self._cluster.record.scheduler:
            raise ValueError(f"cluster {self._cluster.name} has no scheduler: nobody would give its nodes a pod")
        layout = self._cluster.layout
        config = layout.config / "kwok.yaml"
        config.write_text(yaml.safe_dump_all([_options(), *_stages(self._delays)]))
        command = [str(self._cluster.tool("kwok")), "--kubeconfig", str(layout.kubeconfig), "--config", str(config)]
        # A kwok before this one may hold their leases still: pods would wait for these to run out.
        self._cluster.api().request("DELETE", NODE_LEASES)
        # With the cluster's marker, so that taking the cluster down ends it even if this process is killed.
        self._process = processes.spawn(layout.state, "kwok", [*command, "--manage-all-nodes"], self._cluster.env)
        try:
            for name in self._names:
                self._cluster.api().apply(f"/api/v1/nodes/{name}", _node(name, self._gpus))
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.end([self._process.pid])
            self._process = None

    def _wait(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not all(self._ready(name) for name in self._names):
            if time.monotonic() > deadline:
                raise TimeoutError(f"kwok made no ready nodes; see {self._cluster.layout.logs / 'kwok.log'}")
            time.sleep(0.1)

    def _ready(self, name: str) -> bool:
        """Ready, and without the taint that a new node has until the controller manager has seen it ready."""
        node = self._cluster.api().request("GET", f"/api/v1/nodes/{name}")
        conditions = {item["type"]: item["status"] for item in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _options() -> dict[str, Any]:
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {"podPlayStageParallelism": PARALLEL_PODS, "nodeLeaseDurationSeconds": LEASE_SECONDS},
    }


def _stages(delays: dict[str, float]) -> list[dict[str, Any]]:
    stages = list(yaml.safe_load_all(STAGES.read_text()))
    for stage in stages:
        seconds = delays.get(stage["metadata"]["name"], 0.0)
        if seconds:
            stage["spec"]["delay"] = {"durationMilliseconds": round(seconds * 1000)}
    return stages


def _node(name: str, gpus: int) -> dict[str, Any]:
    """Everything but GPUs is there in plenty: a pod that does not fit would measure the scheduler's retries."""
    capacity = {"cpu": "100k", "memory": "100Ti", "pods": "100k", "nvidia.com/gpu": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": capacity, "capacity": capacity},
    }
