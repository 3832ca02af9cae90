"""A real API server with Kaon's chart, upstream resources that are Ready, and the operator under its own account."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from harness import Kubectl, OperatorProcess, eventually
from hostile.values import READY
from knownkeys import signed, told

from localcluster import Cluster

ROOT = Path(__file__).parents[2]
SYSTEM = "kaon-system"
FLOOD = "flood"
"""Where the inputs go. Its pods must pass Pod Security "restricted"."""
CANARIES = "canaries"
IMAGES = {name: f"registry.example/kaon/{name}:1" for name in ("jobs", "triton", "torchserve", "router")}
PLACEMENT = (
    *("--allowed-priority-classes=important", "--allowed-runtime-classes=nvidia,sandboxed"),
    *("--allowed-tolerations=*", "--allowed-service-accounts="),
)
"""Where the inputs may place their pods."""
DIGEST = "sha256:" + "0" * 64
TOKEN_HOURS = 12


@dataclass(frozen=True)
class World:
    """A cluster that is ready to be flooded."""

    cluster: Cluster
    kubectl: Kubectl
    identity: Path
    """A kubeconfig with a token of the operator's own account."""

    def start_operator(self, *flags: str, program: list[str] | None = None) -> OperatorProcess:
        """The operator as a process with exactly the chart's rights."""
        images = [flag for name, image in IMAGES.items() for flag in (f"--image-{name}", image)]
        own = ["--storage-uri", "s3://kaon/artifacts", "--storage-secret", "kaon-store", "--lease-namespace", SYSTEM]
        own += ["--require-policies", "reports,operator"]
        arguments = [*images, *own, *PLACEMENT, *flags]
        operator = OperatorProcess(self.identity, arguments, program or ["-m", "kaon.engine.main"], {})
        try:
            return operator.wait_ready(60).wait_leading(60)
        except BaseException:
            operator.stop()
            raise


@contextmanager
def world(name: str, *, audit: bool = False) -> Iterator[World]:
    """A cluster of this name with all that the inputs and the operator need, taken down afterwards."""
    cluster = Cluster(name, control_plane_only=True, audit=audit, say=lambda line: None)
    with ExitStack() as after:
        after.callback(cluster.down)
        cluster.up()
        kubectl = Kubectl(cluster.tool("kubectl"), cluster.kubeconfig)
        folder = Path(after.enter_context(tempfile.TemporaryDirectory(prefix="kaon-hostile-")))
        _install(cluster, kubectl, folder)
        yield World(cluster, kubectl, _identity(cluster, kubectl, folder))


@contextmanager
def running(world_: World, *flags: str, program: list[str] | None = None) -> Iterator[OperatorProcess]:
    """An operator for a while."""
    operator = world_.start_operator(*flags, program=program)
    try:
        yield operator
    finally:
        operator.stop()


def _install(cluster: Cluster, kubectl: Kubectl, folder: Path) -> None:
    kubectl.apply(*(_namespace(name) for name in (SYSTEM, FLOOD, CANARIES)))
    env = {**os.environ, **{f"HELM_{each}_HOME": str(folder / each) for each in ("CACHE", "CONFIG", "DATA")}}
    command = [str(cluster.tool("helm")), "install", "kaon", str(ROOT / "charts" / "kaon"), "--namespace", SYSTEM]
    command += [
        "--set-string",
        ",".join(["images.registry=registry.example", *(f"images.{name}.tag=1" for name in IMAGES)]),
    ]
    env |= {"KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    cluster.wait_for_crds()
    kubectl.apply(
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "sandboxed"}, "handler": "runsc"},
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "important"},
            "value": 1000,
        },
    )


def _namespace(name: str) -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _identity(cluster: Cluster, kubectl: Kubectl, folder: Path) -> Path:
    token = kubectl("create", "token", "kaon-operator", "-n", SYSTEM, f"--duration={TOKEN_HOURS}h").strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    file = folder / "operator.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    return file


# -- what others refer to ---------------------------------------------------------------------------------------------

_EVALUATION = {
    "split": "test",
    "rows": 10,
    "metrics": {"accuracy": {"value": 0.9}, "macroF1": {"value": 0.9}},
    "latencyMs": {"p50": 1, "p99": 2},
}
_QUALITY = {
    **{"rowsRead": 30, "missing": 0, "duplicates": 0, "missingRatio": 0, "duplicateRatio": 0, "leakage": 0},
    **{"minRowsPerClass": 10, "smallestClass": "a"},
}
_RESULTS: dict[str, dict[str, Any]] = {
    "Dataset": {"dataset": {"rows": {"train": 20, "test": 10}, "classes": ["a", "b"], "quality": _QUALITY}},
    "TrainingRun": {"training": {"evaluation": _EVALUATION, "datasetDigest": DIGEST}},
    "CompressionJob": {
        "compression": {
            "verdict": "Accepted",
            "message": "It keeps the budget.",
            "baseline": _EVALUATION,
            "evaluation": _EVALUATION,
            "sourceDigest": DIGEST,
        }
    },
}
_SPECS: dict[str, dict[str, Any]] = {
    "Dataset": {
        "task": "text-classification",
        "sources": [{"uri": "s3://bucket/rows.csv"}],
        "schema": {"features": [{"name": "text"}], "label": {"name": "label"}},
    },
    "TrainingRun": {"datasetRef": {"name": READY["Dataset"]}, "model": {"base": "s3://bucket/model"}},
    "CompressionJob": {
        "modelRef": {"kind": "TrainingRun", "name": READY["TrainingRun"]},
        "budget": {"maxDrop": {"accuracy": 0.01}},
    },
}


def resource(kind: str, name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """A resource that is well; `spec` is put over what is usual for it."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "kaon.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {**_SPECS[kind], **spec}}


def make_ready(kubectl: Kubectl, namespace: str = FLOOD) -> None:
    """The upstream resources, as if their stages had run: this writes what their pods would report."""
    for kind, name in READY.items():
        kubectl.apply(resource(kind, name, namespace))
        found = eventually(lambda k=kind, n=name: _job_name(kubectl, k, n, namespace), f"the Job of {name}", 60)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        artifact = {"uri": f"s3://kaon/artifacts/{name}", "digest": DIGEST, "sizeBytes": 1000}
        result = {"artifact": artifact, "startTime": now, "completionTime": now, **_RESULTS[kind]}
        report = eventually(lambda f=found: kubectl.get("report", f, namespace), f"the Report of {name}", 60)
        kubectl.patch_status("report", found, namespace, signed(told(report), result))
        kubectl("wait", f"{kind.lower()}/{name}", "-n", namespace, "--for=condition=Ready", "--timeout=60s")


def _job_name(kubectl: Kubectl, kind: str, name: str, namespace: str) -> str:
    found = kubectl.get(kind.lower(), name, namespace) or {}
    job = found.get("status", {}).get("jobName", "")
    return str(job) if job and kubectl.get("job", job, namespace) else ""


def metrics(operator: OperatorProcess) -> dict[str, float]:
    """How the operator's reconciles ended, by outcome."""
    names = ("ok", "error", "refused", "retry", "conflict", "dropped", "occupied", "not_leader")
    return {name: operator.metric("kaon_reconcile_duration_seconds_count", outcome=name) for name in names}


def complaints(operator: OperatorProcess) -> dict[str, str]:
    """Name of a resource -> the first line in which the operator said that it failed with it."""
    found: dict[str, str] = {}
    for line in operator.log.splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue
        if said.get("level") in ("error", "critical") and "name" in said:
            text = f"{said['msg']}: {said.get('cause', '')}{str(said.get('error', ''))[-300:]}"
            found.setdefault(str(said["name"]), text)
    return found
