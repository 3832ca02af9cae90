"""Report: tells a stage's pod what to do (spec), and is its channel back to the resource (status). Not for users."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.common import ArtifactStatus, Checkpoint, Cost, Progress
from kaon.api.compressionjob import Candidate, Interval, MetricDrops, Undecided, Verdict
from kaon.api.dataset import MOST_FEATURES, ClassName, DataQuality, Feature, Rows, listed
from kaon.api.evaluation import Evaluation
from kaon.api.signature import Signature
from kaon.api.types import REASON_LENGTH, Count, Digest, Figure, Message

KIND = "Report"
JOB_LENGTH = 655_360
"""Characters of the longest JobSpec; a test holds that no resource leads to a longer one."""


class ReportSpec(ApiModel):
    """Whose report this is, and what its pod is told. Written by the operator before the Job is made, never changed."""

    stage: str = Field(max_length=32)
    job_name: str = Field(max_length=63)
    input_digest: Digest
    job: str | None = Field(
        default=None, max_length=JOB_LENGTH, description="What the stage's pod is told: its JobSpec, as JSON."
    )
    job_signature: str | None = Field(
        default=None, max_length=256, description="Of `job`, with the trust domain's key; base64."
    )


class DatasetResult(ApiModel):
    """What a dataset stage found."""

    rows: Rows
    classes: list[ClassName] = Field(max_length=1000)
    class_count: Count | None = Field(default=None, description="How many classes there are, where not all are listed.")
    features: list[Feature] = Field(
        default_factory=list, max_length=MOST_FEATURES, description="The columns that models read, in order."
    )
    quality: DataQuality

    def reported(self) -> DatasetResult:
        """The same as a Report holds it, which has no room for all names of every Dataset."""
        names = listed(self.classes)
        if len(names) == len(self.classes):
            return self
        count = self.class_count or len(self.classes)
        return self.model_copy(update={"classes": names, "class_count": count})


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
    signature: Signature | None = Field(default=None, description="Of a model: what a request and an answer hold.")
    dataset: DatasetResult | None = None
    training: TrainingResult | None = None
    compression: CompressionResult | None = None

    def reported(self) -> Result:
        """The same as a Report holds it; the artifact's manifest has all of it."""
        return self if self.dataset is None else self.model_copy(update={"dataset": self.dataset.reported()})


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
