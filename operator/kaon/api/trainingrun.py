"""TrainingRun: a standard recipe that turns a Dataset and a base model into a trained, evaluated, exported model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.common import Checkpoint, StageSpec, StageStatus
from kaon.api.evaluation import Display, Evaluation
from kaon.api.metrics import MetricBounds, gate_rules
from kaon.api.signature import Signature
from kaon.api.types import BUILTIN, LARGEST, MODEL_URI, Count, Digest, LocalReference, bare_uri
from kaon.tasks.registry import BUILTINS, METRICS, TASKS

KIND = "TrainingRun"
EPOCHS, LEARNING_RATE = 3, 5e-5
"""What works for a small encoder that was trained before."""
AUGMENTATION: Final = "shift"
"""Of images."""
STOPPING = ("loss", *METRICS)
"""What early stopping can watch."""


def _watched(name: str) -> str:
    if name not in STOPPING:
        raise ValueError(f"metric is one of: {', '.join(STOPPING)}")
    return name


StoppingMetric = Annotated[str, AfterValidator(_watched), Field(json_schema_extra={"enum": list(STOPPING)})]


def _builtins() -> str:
    """The builtin models, as they are written in a resource, and the tasks that have them."""
    tasks: dict[str, list[str]] = {}
    for task in TASKS.values():
        if task.builtins:
            names = ", ".join(BUILTIN + builtin.name for builtin in task.builtins)
            tasks.setdefault(names, []).append(task.name)
    return "; ".join(f"of {' and '.join(those)} {names}" for names, those in tasks.items())


class BaseModelSource(ApiModel):
    """Where the weights come from."""

    cel_rules: ClassVar[Rules] = {
        **dict([bare_uri("base", lambda self: self.base)]),
        Rule(
            f"!self.base.startsWith('{BUILTIN}') || self.base.substring({len(BUILTIN)}) in {list(BUILTINS)}",
            f"base: the builtin models are {', '.join(BUILTIN + name for name in BUILTINS)}",
        ): lambda self: self.builtin is None or self.builtin in BUILTINS,
        Rule(
            f"!self.base.startsWith('{BUILTIN}') || !(has(self.digest) || has(self.secretRef))",
            "a builtin model is read from no store: remove digest and secretRef",
        ): lambda self: self.builtin is None or (self.digest is None and self.secret_ref is None),
    }

    base: str = Field(
        max_length=1024,
        pattern=MODEL_URI,
        description="Folder of a Hugging Face model: config.json, model.safetensors, and of texts the tokenizer's "
        "files, of images preprocessor_config.json. "
        f"Or a model that Kaon trains from nothing: {_builtins()}.",
    )
    digest: Digest | None = Field(default=None, description="Pin: SHA-256 over the folder's files; others are refused.")
    secret_ref: LocalReference | None = Field(
        default=None, description="Secret with the options of this folder's store. Default: the stage's storage Secret."
    )

    @property
    def builtin(self) -> str | None:
        """The name of the builtin model; None when the weights come from a store."""
        return self.base.removeprefix(BUILTIN) if self.base.startswith(BUILTIN) else None


def _defaults(name: str, usual: float) -> str:
    """The usual default of a field of the recipe, and those of builtin models."""
    others: dict[float, list[str]] = {}
    for task in TASKS.values():
        for builtin in task.builtins:
            if name in builtin.defaults:
                others.setdefault(builtin.defaults[name], []).append(BUILTIN + builtin.name)
    return "; ".join([f"{usual:g}", *(f"of {', '.join(names)} {value:g}" for value, names in others.items())])


class EarlyStopping(ApiModel):
    """Stop when the validation metric has not improved for `patience` evaluations; the best weights are kept."""

    metric: StoppingMetric | None = Field(
        default=None,
        description="loss, or a metric of the task. Default: that of the task; macroF1 where labels are classes.",
    )
    patience: int = Field(default=2, ge=1, le=100, description="Evaluations (one an epoch) without improvement.")


class Recipe(ApiModel):
    """How to train. Every field has a default that works for a small encoder."""

    epochs: int | None = Field(default=None, ge=1, le=1000, description=f"Default: {_defaults('epochs', EPOCHS)}.")
    batch_size: int = Field(default=32, ge=1, le=4096, description="Rows per device and step.")
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description=f"Default: {_defaults('learningRate', LEARNING_RATE)}."
    )
    scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = "linear"
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Decoupled L2 of AdamW.")
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Of every part that the base model can drop. Default: the base model's own.",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=1024)
    gradient_checkpointing: bool = Field(
        default=False, description="Less memory for more time. Refused where the base model cannot do it."
    )
    max_grad_norm: float = Field(default=1.0, ge=0, le=LARGEST)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="auto: bf16 on a GPU that has it, else fp32. bf16 also works on CPUs with instructions for it; "
        "what the machine lacks is trained in fp32, and the log says so.",
    )
    seed: int = Field(default=42, ge=0, le=2**31 - 1)
    early_stopping: EarlyStopping | None = None
    max_sequence_length: int = Field(
        default=128,
        ge=8,
        le=8192,
        description="Of texts: tokens, special ones included; longer texts are cut. A model that reads fewer is "
        "refused.",
    )
    image_size: int | None = Field(
        default=None,
        ge=8,
        le=1024,
        description="Of images: pixels of each side of what the model reads; images are scaled to it. Default: the "
        "base model's own; of a builtin model the middle longer side of the training images, up to 128.",
    )
    augmentation: Literal["none", "shift", "shift-flip"] | None = Field(
        default=None,
        description="Of images, while training. shift: each is moved by up to a fourteenth of its side. shift-flip: "
        "and half of them are mirrored, left and right; wrong for digits, letters and whatever has a handedness. "
        "Default: shift.",
    )

    def settled(self, defaults: Mapping[str, int | float]) -> Recipe:
        """The same with nothing left to a default that depends on the model.

        Args:
            defaults: field as it is written -> its default for the model, where that is not the usual one.
        """
        return self.model_copy(
            update={
                "epochs": self.epochs or defaults.get("epochs", EPOCHS),
                "learning_rate": self.learning_rate or defaults.get("learningRate", LEARNING_RATE),
            }
        )

    def unsettled(self, defaults: Mapping[str, int | float]) -> Recipe:
        """The same with such defaults left out, for a default that is written out is one that is left out."""
        usual = Recipe(augmentation=AUGMENTATION).settled(defaults)
        names = ("epochs", "learning_rate", "augmentation")
        return self.model_copy(update={name: None for name in names if getattr(self, name) == getattr(usual, name)})


class CheckpointPolicy(ApiModel):
    """When training writes a point to resume from. It also does so at SIGTERM."""

    every_steps: Count | None = Field(default=None, ge=1, description="Default: once an epoch.")
    keep: int = Field(default=2, ge=1, le=20)


class EvaluationSpec(ApiModel):
    """The gate of this stage. A metric that was not measured fails."""

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


class TrainingRunSpec(StageSpec):
    """What to train, on what, how."""

    dataset_ref: LocalReference
    model: BaseModelSource | None = Field(
        default=None,
        description="Where the weights come from. Default: the first builtin model of the Dataset's task.",
    )
    recipe: Recipe = Field(default_factory=Recipe)
    checkpoint: CheckpointPolicy = Field(default_factory=CheckpointPolicy)
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)


class DatasetVersion(ApiModel):
    """The version of the Dataset that the run is made with."""

    uri: str = Field(max_length=2048)
    digest: Digest
    secret_name: str | None = Field(
        default=None, max_length=253, description="Name of the Secret that opens its store."
    )


class TrainingRunStatus(StageStatus):
    """What came out."""

    last_checkpoint: Checkpoint | None = None
    resumed_from_step: Count | None = Field(default=None, description="The step from which the last attempt resumed.")
    task: str | None = Field(default=None, max_length=64, description="Of the Dataset.")
    dataset: DatasetVersion | None = None
    evaluation: Evaluation | None = None
    signature: Signature | None = Field(default=None, description="What a request to the model and an answer hold.")
    display: Display | None = None
