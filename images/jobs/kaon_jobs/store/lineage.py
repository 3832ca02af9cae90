"""What a job may make, and of which artifacts: what its manifest must say. Pure."""

from __future__ import annotations

from typing import Literal

from kaon.contract.jobspec import CompressWork, DatasetWork, EvaluateWork, FetchWork, JobSpec, TrainWork

ArtifactKind = Literal["dataset", "model", "compressed-model", "verdict"]


def kinds_of(job: JobSpec) -> frozenset[ArtifactKind]:
    """The kinds of artifact that a job may end with."""
    match job.work:
        case DatasetWork():
            return frozenset({"dataset"})
        case TrainWork():
            return frozenset({"model"})
        case CompressWork():
            return frozenset({"compressed-model", "verdict"})
        case EvaluateWork():
            return frozenset({"verdict"})
        case FetchWork():
            return frozenset()


def inputs_of(job: JobSpec) -> dict[str, str]:
    """Role -> digest of each artifact that a job reads."""
    match job.work:
        case TrainWork() as work:
            return {"dataset": work.dataset.digest}
        case CompressWork() | EvaluateWork() as work:
            return {"model": work.model.digest, "dataset": work.dataset.digest}
        case _:
            return {}
