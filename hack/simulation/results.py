"""What a stage's pod would report when all went well. Pure; the same job yields the same artifact."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from knownkeys import signed

from kaon.contract.jobspec import JobSpec

Object = dict[str, Any]
METRICS: Object = {"accuracy": {"value": 0.95}, "macroF1": {"value": 0.9}}
EVALUATION: Object = {"split": "test", "rows": 100, "metrics": METRICS, "sizeBytes": 1000}
QUALITY: Object = {
    "rowsRead": 110, "missing": 0, "duplicates": 0, "missingRatio": 0, "duplicateRatio": 0, "leakage": 0,
    "leakageRemoved": 0, "minRowsPerClass": 40, "smallestClass": "ham",
}  # fmt: skip


def finished(told: Object, pod: str) -> Object:
    """The Report's status after a finished stage. `told`: the JobSpec in it; `pod`: its name."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    work = told["work"]
    job = JobSpec.model_validate(told).model_copy(update={"content": {}})
    result = {
        "artifact": {"uri": "", "digest": artifact_digest(told["inputDigest"]), "sizeBytes": 1000},
        "reused": False,
        "cost": {"cpuSeconds": 1, "gpuSeconds": 1, "wallSeconds": 1},
        "startTime": now,
        "completionTime": now,
        **_FIGURES[work["stage"]](work),
    }
    progress = {"percent": 100, "phase": "done"}
    return {"pod": pod, "startTime": now, "progress": progress, **signed(job, result), "error": None}


def artifact_digest(input_digest: str) -> str:
    """The digest of the artifact that a stage makes of its inputs."""
    return f"sha256:{hashlib.sha256(f'artifact of {input_digest}'.encode()).hexdigest()}"


def _dataset(work: Object) -> Object:
    rows = {"train": 80, "validation": 10, "test": 20}
    return {"dataset": {"rows": rows, "classes": ["ham", "spam"], "quality": QUALITY}}


def _training(work: Object) -> Object:
    return {"training": {"evaluation": EVALUATION, "datasetDigest": work["dataset"]["digest"]}}


def _compression(work: Object) -> Object:
    smaller = {**EVALUATION, "sizeBytes": 250}
    return {
        "compression": {
            "verdict": "Accepted",
            "message": "int8-dynamic keeps every budget on the test split.",
            "baseline": EVALUATION,
            "evaluation": smaller,
            "chosen": "int8-dynamic",
            "sizeRatio": 4,
            "speedup": {"value": 2, "low": 1.9, "high": 2.1},
            "drops": {"accuracy": 0, "macroF1": 0},
            "sourceDigest": work["model"]["digest"],
        }
    }


_FIGURES = {"dataset": _dataset, "train": _training, "compress": _compression}
