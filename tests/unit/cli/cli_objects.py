"""Objects as the API server would send them, made by the API models, for the tests of the command line."""

from __future__ import annotations

from typing import Any

from metricvalues import metrics

from kaon.api.common import ArtifactStatus, Condition, Progress
from kaon.api.compressionjob import CompressionJobStatus, Interval
from kaon.api.dataset import DatasetStatus, Rows
from kaon.api.evaluation import Evaluation, Latency
from kaon.api.modeldeployment import ModelDeploymentStatus
from kaon.api.trainingrun import TrainingRunStatus

NOW = "2026-01-01T00:00:00Z"
DIGEST = "sha256:" + "a" * 64
OTHER_DIGEST = "sha256:" + "b" * 64


def conditions(
    ready: str, reason: str = "Succeeded", message: str = "", stalled: bool = False, **more: tuple[str, str]
) -> list[Condition]:
    """The conditions that are always there, and others as type=(status, message)."""
    states = {"Ready": (ready, message), "Stalled": ("True" if stalled else "False", message), **more}
    return [
        Condition.model_validate(
            {"type": kind, "status": status, "reason": reason, "message": said, "lastTransitionTime": NOW}
        )
        for kind, (status, said) in states.items()
    ]


def obj(kind: str, name: str, spec: dict[str, Any], status: Any = None, generation: int = 1) -> dict[str, Any]:
    """A resource as the command line gets it."""
    made: dict[str, Any] = {"kind": kind, "metadata": {"name": name, "generation": generation}, "spec": spec}
    if status is not None:
        made["status"] = status.wire()
    return made


def dataset(name: str = "r8", **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "phase": "Succeeded",
        "observed_generation": 1,
        "conditions": conditions("True"),
        "rows": Rows(train=4936, validation=549, test=2189),
        "classes": ["acq", "crude", "earn"],
    }
    return obj("Dataset", name, {}, DatasetStatus(**{**fields, **changes}))


def run(name: str = "r8", reads: str = "r8", **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "phase": "Running",
        "observed_generation": 1,
        "conditions": conditions("False", "Running", "epoch 2 of 3"),
        "job_name": f"{name}-trun-0123456789",
        "progress": Progress(
            percent=42.0, phase="training", step=195, total_steps=465, eta_seconds=190, metrics={"loss": 0.31234}
        ),
    }
    return obj("TrainingRun", name, {"datasetRef": {"name": reads}}, TrainingRunStatus(**{**fields, **changes}))


def evaluation(**changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "split": "test",
        "rows": 2189,
        "metrics": metrics(accuracy=0.9703, macroF1=0.9218),
        "latency_ms": Latency(p50=9.12, p99=14.0),
        "size_bytes": 91_000_000,
    }
    return Evaluation(**{**fields, **changes})


def job(name: str = "r8-small", reads: str = "r8", **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "phase": "Succeeded",
        "observed_generation": 1,
        "conditions": conditions("True", Accepted=("True", "fusion+int8-dynamic keeps every budget")),
        "verdict": "Accepted",
        "baseline": evaluation(),
        "evaluation": evaluation(
            metrics=metrics(accuracy=0.9698, macroF1=0.9228),
            latency_ms=Latency(p50=4.57, p99=8.2),
            size_bytes=22_900_000,
        ),
        "chosen": "fusion+int8-dynamic",
        "size_ratio": 3.97,
        "speedup": Interval(value=2.0, low=1.93, high=2.07),
        "task": "text-classification",
        "drops": {"accuracy": 0.0005, "macroF1": -0.001},
        "flip_rate": 0.0032,
        "source_digest": DIGEST,
    }
    spec = {"modelRef": {"kind": "TrainingRun", "name": reads}}
    return obj("CompressionJob", name, spec, CompressionJobStatus(**{**fields, **changes}))


def deployment(
    name: str = "r8", reads: tuple[str, str] = ("CompressionJob", "r8-small"), **changes: Any
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "phase": "Ready",
        "observed_generation": 1,
        "conditions": conditions("True"),
        "url": "http://r8.demo.svc.cluster.local/v2/models/r8/infer",
        "replicas": 1,
        "ready_replicas": 1,
    }
    spec = {"modelRef": {"kind": reads[0], "name": reads[1]}}
    return obj("ModelDeployment", name, spec, ModelDeploymentStatus(**{**fields, **changes}))


def artifact(digest: str = DIGEST) -> ArtifactStatus:
    return ArtifactStatus(uri="s3://kaon/artifacts/trainingruns/abc", digest=digest, size_bytes=91_000_000)
