"""ModelDeployment: a model with evidence, served behind a router, replaced only by one that is ready."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.common import StageSpec, StageStatus
from kaon.api.dataset import ClassName
from kaon.api.metrics import MOST_METRICS, MetricBounds, gate_rules
from kaon.api.podtemplate import PodTemplate
from kaon.api.signature import Signature
from kaon.api.types import Count, Digest, Figure, Message, Name

KIND = "ModelDeployment"
MOST_CLASS_SHARES = 20


class ServedModelReference(ApiModel):
    """The stage whose accepted artifact is served."""

    kind: Literal["CompressionJob", "TrainingRun"]
    name: Name


class DeploymentGates(ApiModel):
    """What the artifact's own evaluation must show before it is deployed. A missing figure fails."""

    cel_rules: ClassVar[Rules] = {
        **gate_rules("minimum", "higher", lambda self: self.minimum),
        **gate_rules("maximum", "lower", lambda self: self.maximum),
    }

    minimum: MetricBounds | None = Field(
        default=None, description="Metric: what it must be at least. For metrics of which higher is better."
    )
    maximum: MetricBounds | None = Field(
        default=None, description="Metric: what it may be at most. For metrics of which lower is better."
    )
    max_latency_ms: Figure | None = Field(default=None, gt=0, description="Bound on the evaluation's p99.")
    max_size_bytes: Count | None = Field(default=None, ge=1)


class Batching(ApiModel):
    """Server-side batching of requests that arrive together."""

    max_batch_size: int = Field(default=8, ge=1, le=1024)
    max_delay_ms: float = Field(default=0, ge=0, le=1000)


class Route(ApiModel):
    """Limits of the router."""

    timeout_seconds: float = Field(default=10, ge=0.001, le=600)
    max_request_bytes: int = Field(default=1_048_576, ge=1024, le=104_857_600)


class ClassShare(ApiModel):
    """An alert on the share that one class has of all answers."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "has(self.above) || has(self.below)",
            "a class share needs a limit: set above, below or both",
        ): lambda self: self.above is not None or self.below is not None,
        Rule(
            "!has(self.above) || !has(self.below) || self.below < self.above",
            "below must be less than above: the alert is true outside of the two",
        ): lambda self: self.above is None or self.below is None or self.below < self.above,
    }

    name: ClassName = Field(alias="class", description="A class of the model.")
    above: float | None = Field(default=None, ge=0, lt=1, description="Alert when the share is larger, e.g. 0.4.")
    below: float | None = Field(default=None, gt=0, le=1, description="Alert when the share is smaller.")
    window_seconds: int = Field(
        default=1800, ge=60, le=86_400, description="The share is that of the answers of so long."
    )
    for_seconds: int = Field(
        default=600,
        ge=0,
        le=86_400,
        description="How long the share must be beyond the limit before the alert is raised.",
    )
    min_answers: int = Field(
        default=100, ge=1, le=1_000_000_000, description="With fewer answers in the window there is no alert."
    )


class Alerts(ApiModel):
    """Thresholds of the generated alerts. Defaults come from the evaluation where it has the figure."""

    max_error_ratio: float = Field(default=0.01, gt=0, le=1)
    max_latency_ms: Figure | None = Field(
        default=None, gt=0, description="p99 at the router. Default: 10 times the evaluation's p99, at least 100 ms."
    )
    class_share: list[ClassShare] = Field(
        default_factory=list,
        max_length=MOST_CLASS_SHARES,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["class"]},
        description="Limits of the share that a class may have of all answers (texts or rows, of all replicas and "
        "revisions).",
    )

    @field_validator("class_share")
    @classmethod
    def _each_once(cls, shares: list[ClassShare]) -> list[ClassShare]:
        # The API server refuses it by the list's type.
        names = [share.name for share in shares]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the class {twice!r} stands in classShare more than once")
        return shares


class Monitoring(ApiModel):
    """What is watched."""

    alerts: Alerts = Field(default_factory=Alerts)


class ModelDeploymentSpec(StageSpec):
    """What to serve, with what, under which conditions."""

    model_ref: ServedModelReference
    follow: Literal["Accepted", "Pinned"] = Field(
        default="Accepted",
        description="Accepted: a newer accepted artifact replaces the served one. Pinned: the first one stays.",
    )
    gates: DeploymentGates = Field(default_factory=DeploymentGates)
    server: Literal["triton", "torchserve"] = "triton"
    replicas: int = Field(default=1, ge=0, le=1000)
    threads: int = Field(default=2, ge=1, le=256, description="Threads of the runtime in each replica.")
    batching: Batching = Field(default_factory=Batching)
    route: Route = Field(default_factory=Route)
    router: PodTemplate = Field(default_factory=PodTemplate, description="Pod template of the router.")
    monitoring: Monitoring = Field(default_factory=Monitoring)


class Revision(ApiModel):
    """One artifact on one server with one set of settings, as one Deployment. It can be made again from this alone."""

    revision: str = Field(max_length=63)
    model_ref: ServedModelReference = Field(description="Where the artifact came from.")
    server: Literal["triton", "torchserve"]
    threads: Count
    batching: Batching
    artifact_uri: str = Field(max_length=2048)
    artifact_digest: Digest
    evaluation_digest: Digest | None = Field(default=None, description="Of the evaluation that the gates judged.")
    secret_name: str | None = Field(default=None, max_length=253, description="Secret that opens the artifact's store.")
    latency_p99_ms: Figure | None = Field(default=None, description="The evaluation's, for the latency alert.")
    signature: Signature | None = Field(
        default=None, description="What a request and an answer hold. Absent: a text, and its classes."
    )
    since: str = Field(json_schema_extra={"format": "date-time"})
    weight: int = Field(ge=0, le=100, description="Percent of the traffic.")


class GateResult(ApiModel):
    """One gate, what it asks and what the evaluation says."""

    name: str = Field(max_length=64)
    passed: bool
    message: Message


class ModelDeploymentStatus(StageStatus):
    """What is served."""

    url: str | None = Field(default=None, max_length=2048, description="In-cluster URL of the model.")
    replicas: Count | None = None
    ready_replicas: Count | None = None
    selector: str | None = Field(default=None, max_length=512)
    stable: Revision | None = None
    candidate: Revision | None = None
    retiring: Revision | None = Field(default=None, description="Kept until the router surely sends it nothing more.")
    gates: list[GateResult] = Field(
        default_factory=list, max_length=2 * MOST_METRICS + 2, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
