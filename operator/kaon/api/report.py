"""Report: the channel from a stage's pod back to its resource. Written by pods, read by the operator, not by users."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.common import ArtifactStatus, Checkpoint, Cost, Progress
from kaon.api.compressionjob import Candidate, Interval, MetricDrops, Undecided, Verdict
from kaon.api.dataset import DataQuality, Rows
from kaon.api.evaluation import Evaluation
from kaon.api.types import REASON_LENGTH, Count, Digest, Figure, Message

KIND = "Report"


class ReportSpec(ApiModel):
    """Whose report this is; set by the operator."""

    stage: str = Field(max_length=32)
    job_name: str = Field(max_length=63)
    input_digest: Digest


class DatasetResult(ApiModel):
    """What a dataset stage found."""

    rows: Rows
    classes: list[Annotated[str, Field(max_length=256)]] = Field(max_length=1000)
    quality: DataQuality


class TrainingResult(ApiModel):
    """What a training stage reached."""

    evaluation: Evaluation
    dataset_digest: Digest


class CompressionResult(ApiModel):
    """What a compression stage reached: the verdict with its evidence."""

    verdict: Verdict
    message: Message = Field(description="One sentence for a person; names the budget and the nearest candidate.")
    baseline: Evaluation
    evaluation: Evaluation | None = None
    chosen: str | None = Field(default=None, max_length=256)
    size_ratio: Figure | None = None
    speedup: Interval | None = None
    drops: MetricDrops = Field(default_factory=dict)
    class_recall_drop: Figure | None = None
    flip_rate: Figure | None = None
    candidates: list[Candidate] = Field(default_factory=list, max_length=10)
    undecided: list[Undecided] = Field(default_factory=list, max_length=16)
    source_digest: Digest


class Result(ApiModel):
    """The end of a stage. `artifact` is absent only when a compression found nothing that keeps its budget."""

    artifact: ArtifactStatus | None = None
    content: dict[Annotated[str, Field(max_length=64)], Digest] = Field(
        default_factory=dict, max_length=32, description="Role -> digest of the bytes of each source or base model."
    )
    reused: bool = False
    cost: Cost = Field(default_factory=Cost)
    start_time: str = Field(json_schema_extra={"format": "date-time"})
    completion_time: str = Field(json_schema_extra={"format": "date-time"})
    dataset: DatasetResult | None = None
    training: TrainingResult | None = None
    compression: CompressionResult | None = None


class StageError(ApiModel):
    """Why an attempt ended badly: the cause and the way out."""

    reason: str = Field(max_length=REASON_LENGTH, pattern=r"^[A-Za-z][A-Za-z0-9]*$")
    message: Message
    retriable: bool
    time: str = Field(json_schema_extra={"format": "date-time"})


class ReportStatus(ApiModel):
    """What the pod says."""

    pod: str | None = Field(default=None, max_length=253)
    attempt: Count | None = Field(default=None, description="Which attempt this is, from 1.")
    idle_stops: Count | None = Field(
        default=None, description="How many attempts in a row were told to stop before they reached a checkpoint."
    )
    start_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    progress: Progress | None = None
    last_checkpoint: Checkpoint | None = None
    resumed_from_step: Count | None = None
    result: Result | None = None
    result_signature: str | None = Field(
        default=None, max_length=256, description="Of the result, with the trust domain's key; base64."
    )
    error: StageError | None = None
