"""What all kinds share: storage, and the common part of spec and status."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field

from kaon.api.base import ApiModel, Rules
from kaon.api.podtemplate import PodTemplate
from kaon.api.types import STORE_URI, Count, Digest, Figure, LocalReference, Message, Reason, Seconds, bare_uri


class Storage(ApiModel):
    """Where the stage's artifact goes."""

    cel_rules: ClassVar[Rules] = dict([bare_uri("uri", lambda self: self.uri)])

    uri: str = Field(
        max_length=1024,
        pattern=STORE_URI,
        description="Folder of the artifact store: s3:// gs:// az://, or file:///mnt/… (a mounted claim).",
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret whose keys are the store's options: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_ENDPOINT_URL, AWS_REGION … Default: the operator's configured Secret name, in this namespace.",
    )


class StageSpec(ApiModel):
    """The fields that all four kinds have in common. None of them changes a stage's result, except `rerun`."""

    suspend: bool = Field(default=False, description="While true, nothing new starts and a running Job is suspended.")
    rerun: str | None = Field(
        default=None, max_length=63, description="Any token. A new one forces the stage to run again."
    )
    storage: Storage | None = Field(default=None, description="Default: the operator's configured store.")
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    active_deadline_seconds: Seconds | None = Field(
        default=None, description="The stage fails when its Job runs longer than this."
    )
    backoff_limit: int = Field(
        default=3,
        ge=0,
        le=20,
        description="Retries of a failed pod before the stage fails. A pod that is told to stop does not count.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=31_536_000, description="Deletes the finished Job after this; never the resource itself."
    )

    @cached_property
    def declaration(self) -> dict[str, Any]:
        """`declared()`, made once. Not to be changed."""
        return self.declared()


class Condition(ApiModel):
    """A condition in the form that kstatus, Helm --wait, Flux and Argo CD read."""

    type: str = Field(max_length=316)
    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: Message
    observed_generation: Count = 0
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})


class Progress(ApiModel):
    """How far the running stage is."""

    percent: float | None = Field(default=None, ge=0, le=100)
    phase: str | None = Field(default=None, max_length=128, description="What is being done, e.g. training.")
    step: Count | None = None
    total_steps: Count | None = None
    eta_seconds: Figure | None = None
    metrics: dict[str, Figure] = Field(default_factory=dict, max_length=32)


class ArtifactStatus(ApiModel):
    """An artifact in the store: a folder whose manifest `kaon.json` has this SHA-256."""

    uri: str = Field(max_length=2048)
    digest: Digest
    size_bytes: Count


class Cost(ApiModel):
    """What the stage used, summed over its attempts that reported."""

    cpu_seconds: Figure = 0
    gpu_seconds: Figure = 0
    wall_seconds: Figure = 0


class Outcome(ApiModel):
    """One finished run of a stage, or one revision of a deployment."""

    time: str = Field(json_schema_extra={"format": "date-time"})
    outcome: Reason
    input_digest: str = Field(max_length=71)
    artifact_digest: str | None = Field(default=None, max_length=71)
    message: Message = ""


class Checkpoint(ApiModel):
    """A point of the training from which it can be resumed."""

    step: Count
    uri: str = Field(max_length=2048)
    time: str = Field(json_schema_extra={"format": "date-time"})


class StageStatus(ApiModel):
    """The common part of every status."""

    phase: str | None = Field(default=None, max_length=32, description="For people; programs read conditions.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    observed_generation: Count | None = None
    input_digest: Digest | None = None
    job_name: str | None = Field(default=None, max_length=63)
    attempts: Count | None = Field(
        default=None, description="Pods that the stage's Job has started, this one included."
    )
    start_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    completion_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    progress: Progress | None = None
    artifact: ArtifactStatus | None = None
    reused: bool | None = Field(default=None, description="True when the artifact was found finished in the store.")
    cost: Cost | None = None
    history: list[Outcome] = Field(
        default_factory=list, max_length=10, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
