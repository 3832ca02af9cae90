"""JobSpec: everything a stage's pod is told, as JSON in the environment variable KAON_JOB_SPEC.

Exit codes of `kaon-job`: 0 finished; 64 the input is wrong, no retry makes it right; 143 stopped by SIGTERM after a
checkpoint; any other is retried up to the backoff limit. Whatever ends badly is also a StageError in the Report.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.compressionjob import Budget, SearchLimits, Step, Target
from kaon.api.dataset import Clean, DataSchema, Source, Split
from kaon.api.trainingrun import BaseModelSource, CheckpointPolicy, Recipe
from kaon.contract.budgets import Budgets

CONTRACT_VERSION = 1
EXIT_WRONG_INPUT = 64
EXIT_TERMINATED = 143

SPEC_VARIABLE = "KAON_JOB_SPEC"
SECRETS_DIR = "/var/run/kaon/secrets"
"""Each Secret is mounted read-only as SECRETS_DIR/<Secret name>; its keys are files named like the store's options."""
WORK_DIR = "/var/lib/kaon"
"""The writable scratch volume of a stage's pod (emptyDir); HOME and TMPDIR lie in it."""


class StoreAccess(ApiModel):
    """A URI and the mounted Secret that opens it (absent: ambient credentials)."""

    uri: str
    secret: str | None = Field(
        default=None, description="Name of the Secret; its keys are files below SECRETS_DIR/<name>."
    )


class InputArtifact(StoreAccess):
    """An artifact that this stage reads, verified against its digest."""

    digest: str


class Provenance(ApiModel):
    """Who asked, with which software. Recorded in the manifest; never part of a digest."""

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    kaon_version: str
    image: str


class DatasetSource(Source):
    """A source with the name of the Secret that opens it, resolved."""

    secret: str | None = None


class DatasetWork(ApiModel):
    """What `kaon-job dataset` does."""

    stage: Literal["dataset"] = "dataset"
    task: str
    sources: list[DatasetSource]
    format: str
    encoding: str = "auto"
    delimiter: str = "auto"
    columns: Annotated[DataSchema, Field(alias="schema")]
    clean: Clean
    split: Split


class TrainWork(ApiModel):
    """What `kaon-job train` does: fine-tune, export to ONNX, check parity, evaluate on the test split."""

    stage: Literal["train"] = "train"
    task: str
    dataset: InputArtifact
    model: BaseModelSource
    model_secret: str | None = None
    recipe: Recipe
    checkpoint: CheckpointPolicy


class CompressWork(ApiModel):
    """What `kaon-job compress` does: search or run the steps, select on validation, judge once on test."""

    stage: Literal["compress"] = "compress"
    model: InputArtifact
    dataset: InputArtifact
    budget: Budget
    objective: str
    strategy: str
    steps: list[Step] | None = None
    search: SearchLimits
    target: Target


class EvaluateWork(ApiModel):
    """What `kaon-job evaluate` does: measure an artifact on a split of a dataset and write the evaluation."""

    stage: Literal["evaluate"] = "evaluate"
    model: InputArtifact
    dataset: InputArtifact
    split: Literal["validation", "test"] = "test"
    threads: int = 2


class FetchWork(ApiModel):
    """What `kaon-job fetch` does in a server's init container: verify the artifact and lay it out for the server."""

    stage: Literal["fetch"] = "fetch"
    model: InputArtifact
    server: Literal["triton", "torchserve"]
    model_name: str
    target_dir: str
    threads: int = 2
    max_batch_size: int = 8
    max_delay_ms: float = 0


Work = Annotated[DatasetWork | TrainWork | CompressWork | EvaluateWork | FetchWork, Field(discriminator="stage")]


class JobSpec(ApiModel):
    """One stage of one resource."""

    contract: int = CONTRACT_VERSION
    provenance: Provenance
    input_digest: str
    report: str | None = Field(default=None, description="Name of the Report to patch, in the pod's namespace.")
    output: StoreAccess | None = Field(
        default=None, description="Folder of the artifact to make: <store>/<kind plural>/<input digest hex>."
    )
    work: Work
    budgets: Budgets | None = Field(
        default=None, description="How much is read of what users give; default: Kaon's own."
    )
