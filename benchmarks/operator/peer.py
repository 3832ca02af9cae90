"""The Go peer: Kubeflow Trainer with JobSet, built from their modules (hack/localcluster/go), at its best setting.

Both run as processes beside the cluster, as the operator does: no leader election, and webhooks reached by URL with a
certificate made here. Custom resources and webhook configurations are those of the modules.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from simulation.programs import Program, fetch, free_port

from localcluster import Cluster, tools

Object = dict[str, Any]
TRAINER, JOBSET = "github.com/kubeflow/trainer/v2", "sigs.k8s.io/jobset"
OWNER_LABEL = "jobset.sigs.k8s.io/jobset-name"
"""On Jobs and pods; a JobSet has the name of its TrainJob."""
RUNTIME = "bench"
BEST = {"PEER_QPS": "500", "PEER_WORKERS": "10"}
"""Its defaults are 20 requests a second and one worker."""


def collection(namespace: str) -> str:
    """The path of the TrainJobs of a namespace."""
    return f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs"


def crds() -> list[Path]:
    """The CustomResourceDefinitions of both."""
    bases = _source("trainer", TRAINER) / "manifests/base/crds"
    return [
        *(path for path in sorted(bases.glob("*.yaml")) if path.name != "kustomization.yaml"),
        *sorted((_source("jobset", JOBSET) / "config/components/crd/bases").glob("*.yaml")),
    ]


def train_job(name: str, seed: int) -> Object:
    """A TrainJob with one pod."""
    spec = {"runtimeRef": {"name": RUNTIME}, "trainer": {"args": ["train", "--seed", str(seed)]}}
    return {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": name}, "spec": spec}


@contextmanager
def running(cluster: Cluster, folder: Path, pod: Object) -> Iterator[dict[str, int]]:
    """Both controllers, ready, with their webhooks, and a runtime with this pod spec. Gives their processes."""
    certificate = _certificate(folder)
    with (
        _controller(
            cluster, folder, "jobset", JOBSET, certificate, "config/components/webhook/manifests.yaml"
        ) as jobset,
        _controller(
            cluster, folder, "trainer", TRAINER, certificate, "manifests/base/webhook/manifests.yaml"
        ) as trainer,
    ):
        _apply(cluster, _runtime(pod))
        yield {"trainer": trainer.pid, "jobset": jobset.pid}


@contextmanager
def _controller(
    cluster: Cluster, folder: Path, name: str, module: str, certificate: bytes, webhooks: str
) -> Iterator[Program]:
    port, probe = free_port(), free_port()
    told = ["--webhook-port", str(port), "--cert-dir", str(folder), f"--health-probe-bind-address=127.0.0.1:{probe}"]
    env = {"KUBECONFIG": str(cluster.kubeconfig), **BEST}
    with Program([str(cluster.tool(name)), *told], folder / f"{name}.log", env) as program:
        program.wait_until(lambda: fetch(f"http://127.0.0.1:{probe}/readyz")[0] == 200, f"ready ({name})")
        for configuration in yaml.safe_load_all((_source(name, module) / webhooks).read_text()):
            configuration["metadata"]["name"] = f"{name}-{configuration['kind'].lower()}"
            for webhook in configuration["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                bundle = base64.b64encode(certificate).decode()
                webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}
                if path.endswith("-pod"):
                    # As JobSet's own installation has it: no other pod waits for these.
                    webhook["objectSelector"] = {"matchExpressions": [{"key": OWNER_LABEL, "operator": "Exists"}]}
            _apply(cluster, configuration)
        yield program


def _runtime(pod: Object) -> Object:
    """A runtime that adds nothing of its own: no framework, one replica."""
    container = {**pod["containers"][0], "name": "node"}
    template = {
        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
        "spec": {"template": {"spec": {**pod, "containers": [container]}}},
    }
    jobs = [{"name": "node", "replicas": 1, "template": template}]
    spec = {"mlPolicy": {"numNodes": 1}, "template": {"spec": {"replicatedJobs": jobs}}}
    metadata = {"name": RUNTIME}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "ClusterTrainingRuntime",
        "metadata": metadata,
        "spec": spec,
    }


def _certificate(folder: Path) -> bytes:
    """A certificate for 127.0.0.1 as tls.crt and tls.key in a folder."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "30", "-subj", "/CN=webhooks", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "tls.crt").read_bytes()


def _source(tool: str, module: str) -> Path:
    """The folder of a Go module in the version that a tool is built from."""
    folder = tools.module_of(tool).folder
    found = subprocess.run(
        ["go", "mod", "download", "-json", module], cwd=folder, check=True, capture_output=True, text=True
    )
    return Path(json.loads(found.stdout)["Dir"])


def _apply(cluster: Cluster, obj: Object) -> None:
    command = ["apply", "--server-side", "-f", "-"]
    cluster.kubectl(*command, input=json.dumps(obj), text=True, stdout=subprocess.DEVNULL)
