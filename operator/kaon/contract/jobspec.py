"""JobSpec: everything a stage's pod is told, as JSON in its Report (spec.job).

The init container of a server has no Report: its JobSpec, which is small, is in the variable KAON_JOB_SPEC.

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
from kaon.contract.address import address_of, artifact_uri
from kaon.contract.budgets import Budgets
from kaon.contract.digest import canonical_json

CONTRACT_VERSION = 2
"""Of the JobSpec's form, wherever it is read from: servers may run images of an older release."""
EXIT_WRONG_INPUT = 64
EXIT_TERMINATED = 143

SPEC_VARIABLE = "KAON_JOB_SPEC"
"""Only of a server's init container. Linux allows 128 KiB for one variable."""
SCRATCH_VARIABLE = "KAON_SCRATCH_BYTES"
"""How much scratch space the pod may take, where that is limited."""
SECRETS_DIR = "/var/run/kaon/secrets"
"""Each Secret is mounted read-only as SECRETS_DIR/<Secret name>; its keys are files named like the store's options."""
TRUST_DIR = "/var/run/kaon/trust"
"""Where the keys of the trust domain are mounted."""
SIGNING_SECRET = "kaon-signing"
"""Name of the Secret with these keys, in each namespace."""
SIGNING_KEY_FILE = "signing.key"
"""The private key, PEM. Only stage pods have it."""
TRUSTED_KEYS_FILE = "trusted.pem"
"""The public keys whose signatures count, PEM."""
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
    task: str
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
    kind: Literal["model", "compressed-model"] = Field(description="Of the artifact; another one is refused.")
    evaluation: str | None = Field(
        default=None,
        description="Digest of the evaluation that the gates judged; another one is refused. None: of a revision that "
        "was promoted before this was written down.",
    )
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
    input_digest: str = Field(description="Names the stage's Job and Report: of all that was declared for it.")
    declaration: str = Field(
        default="", description="Digest of what was declared, without what only says where bytes are found."
    )
    report: str | None = Field(default=None, description="Name of the Report to patch, in the pod's namespace.")
    output: StoreAccess | None = Field(
        default=None, description="Folder of the kind's artifacts: <store>/<trust domain>/<kind plural>."
    )
    content: dict[str, str] | None = Field(
        default=None, description="Role -> digest of what the declaration stands for; the pod finds them out."
    )
    work: Work
    budgets: Budgets | None = Field(
        default=None, description="How much is read of what users give; default: Kaon's own."
    )

    @property
    def address(self) -> str:
        """The address of the artifact.

        Raises:
            ValueError: the content is not known yet.
        """
        if self.content is None:
            raise ValueError("the content of the inputs is not known yet")
        return address_of(self.declaration, self.content)

    @property
    def artifact(self) -> StoreAccess | None:
        """The artifact's own folder; None when the job makes none."""
        if self.output is None:
            return None
        return self.output.model_copy(update={"uri": artifact_uri(self.output.uri, self.address)})

    @property
    def text(self) -> str:
        """The JSON that the pod reads, always the same for the same job."""
        return canonical_json(self.wire()).decode()
