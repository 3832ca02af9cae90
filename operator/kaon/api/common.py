"""What all kinds share: storage, references, the pod template's allow-list, the common part of spec and status."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kaon.api.base import ApiModel, Rule

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SHA256 = r"^sha256:[0-9a-f]{64}$"
STORE_URI = r"^(s3|gs|az|file)://[^\s]+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
Digest = Annotated[str, Field(max_length=71, pattern=SHA256)]
Quantity = Annotated[str | int, Field(json_schema_extra={"x-kubernetes-int-or-string": True, "pattern": QUANTITY})]
Ratio = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class LocalReference(ApiModel):
    """An object of the same namespace, by name."""

    name: Name = Field(description="Name of an object in the same namespace.")


class Storage(ApiModel):
    """Where the stage's artifact goes."""

    uri: str = Field(
        max_length=1024, pattern=STORE_URI, description="Folder of the artifact store, e.g. s3://bucket/prefix."
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret whose keys are the store's options: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_ENDPOINT_URL, AWS_REGION … Default: the operator's configured Secret name, in this namespace.",
    )


class ResourceRequirements(ApiModel):
    """Kubernetes resource requests and limits; GPUs are `nvidia.com/gpu` under limits."""

    limits: dict[str, Quantity] = Field(default_factory=dict, max_length=16)
    requests: dict[str, Quantity] = Field(default_factory=dict, max_length=16)


class Toleration(ApiModel):
    """A Kubernetes toleration."""

    key: str | None = Field(default=None, max_length=316)
    operator: Literal["Exists", "Equal"] | None = None
    value: str | None = Field(default=None, max_length=63)
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(default=None, ge=0)


class EnvVar(ApiModel):
    """A literal environment variable. Values from Secrets are not offered: credentials come by `secretRef`."""

    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    value: str = Field(max_length=4096)


class Volume(ApiModel):
    """A claim, read-only by default, mounted for `file://` sources and stores."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.mountPath.startsWith('/mnt/')", "mountPath must lie under /mnt/"),
        Rule("!self.mountPath.contains('..')", "mountPath must not contain '..'"),
    )

    name: Name
    persistent_volume_claim: str = Field(max_length=253, description="Name of a claim in the same namespace.")
    mount_path: str = Field(max_length=256)
    read_only: bool | None = Field(default=None, description="Default: true.")


class PodTemplate(ApiModel):
    """What may be said about a stage's pods. A typed allow-list: everything else is set, and hardened, by Kaon."""

    resources: ResourceRequirements = Field(default_factory=ResourceRequirements)
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(default_factory=dict, max_length=32)
    tolerations: list[Toleration] = Field(default_factory=list, max_length=32)
    affinity: dict[str, Any] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="A Kubernetes affinity.",
    )
    runtime_class_name: str | None = Field(default=None, max_length=253)
    priority_class_name: str | None = Field(default=None, max_length=253)
    service_account_name: Name | None = Field(
        default=None,
        description="Default: kaon-job. Another one must be bound to ClusterRole kaon-job, or its pods cannot report.",
    )
    image_pull_secrets: list[LocalReference] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    env: list[EnvVar] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    volumes: list[Volume] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
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
    backoff_limit: int = Field(default=3, ge=0, le=20, description="Retries of a failed pod before the stage fails.")
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=31_536_000, description="Deletes the finished Job after this; never the resource itself."
    )


class Condition(ApiModel):
    """A condition in the form that kstatus, Helm --wait, Flux and Argo CD read."""

    type: str = Field(max_length=316)
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(max_length=1024)
    message: str = Field(max_length=32768)
    observed_generation: int = 0
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})


class Progress(ApiModel):
    """How far the running stage is."""

    percent: float | None = Field(default=None, ge=0, le=100)
    phase: str | None = Field(default=None, max_length=128, description="What is being done, e.g. training.")
    step: int | None = None
    total_steps: int | None = None
    eta_seconds: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict, max_length=32)


class ArtifactStatus(ApiModel):
    """An artifact in the store: a folder whose manifest `kaon.json` has this SHA-256."""

    uri: str = Field(max_length=2048)
    digest: Digest
    size_bytes: int = Field(ge=0)


class Cost(ApiModel):
    """What the stage used, summed over its attempts that reported."""

    cpu_seconds: float = 0
    gpu_seconds: float = 0
    wall_seconds: float = 0


class Outcome(ApiModel):
    """One finished run of a stage, or one revision of a deployment."""

    time: str = Field(json_schema_extra={"format": "date-time"})
    outcome: str = Field(max_length=64)
    input_digest: str = Field(max_length=71)
    artifact_digest: str | None = Field(default=None, max_length=71)
    message: str = Field(default="", max_length=1024)


class Checkpoint(ApiModel):
    """A point of the training from which it can be resumed."""

    step: int
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
    observed_generation: int | None = None
    input_digest: Digest | None = None
    job_name: str | None = Field(default=None, max_length=63)
    attempts: int | None = Field(default=None, description="Pods that the stage's Job has started, this one included.")
    start_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    completion_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    progress: Progress | None = None
    artifact: ArtifactStatus | None = None
    reused: bool | None = Field(default=None, description="True when the artifact was found finished in the store.")
    cost: Cost | None = None
    history: list[Outcome] = Field(
        default_factory=list, max_length=10, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
