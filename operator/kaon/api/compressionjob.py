"""CompressionJob: the smallest or fastest model that keeps a promise, with the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.common import StageSpec, StageStatus
from kaon.api.evaluation import Display, Evaluation, Latency
from kaon.api.metrics import MOST_METRICS, MetricBounds, MetricName, loss_rules
from kaon.api.signature import Signature
from kaon.api.types import Count, Figure, Name, Ratio, Seconds
from kaon.tasks.registry import COMPARED

KIND = "CompressionJob"
EXCLUDED_LENGTH = 16_384
"""Characters of all name parts that the steps exclude: as many as one full list may have."""


class TrainedModelReference(ApiModel):
    """The TrainingRun whose model is compressed."""

    kind: Literal["TrainingRun"]
    name: Name


class Budget(ApiModel):
    """The contract, checked on the held-out test split. Fail-closed: a figure that is missing breaks it."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "(has(self.maxDrop) && self.maxDrop.size() > 0) || has(self.maxClassRecallDrop)",
            "a budget must say what quality may be lost: set maxDrop, such as {accuracy: 0.01}, or maxClassRecallDrop",
        ): lambda self: bool(self.max_drop) or self.max_class_recall_drop is not None,
        **loss_rules("maxDrop", COMPARED, lambda self: self.max_drop),
    }

    max_drop: MetricBounds | None = Field(
        default=None,
        description="Metric: how much of it may be lost. accuracy: 0.01 is one point. Of a metric of which lower is "
        "better: how much it may rise.",
    )
    max_class_recall_drop: Ratio | None = Field(default=None, description="No class may lose more recall than this.")
    max_size_bytes: Count | None = Field(default=None, ge=1)
    min_size_ratio: Figure | None = Field(default=None, ge=1, description="Baseline bytes / candidate bytes.")
    max_latency_ms: Latency | None = None
    min_speedup: Figure | None = Field(
        default=None, gt=0, description="Baseline p50 / candidate p50, lower end of its 95 % interval."
    )
    max_peak_memory_bytes: Count | None = Field(default=None, ge=1)
    confidence: float = Field(
        default=0.95,
        ge=0.5,
        le=0.999,
        description="Required confidence that no more quality is lost than allowed; one-sided.",
    )
    on_inconclusive: Literal["Reject", "Accept"] = Field(
        default="Reject",
        description="What happens when the test rows are too few to decide. Accept: the model is accepted when "
        "the drops as measured keep the budget.",
    )


class Vocabulary(ApiModel):
    """Leave out the tokens that the training texts do not need. Every text stays readable: characters that can occur
    stay."""

    min_count: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Minimum occurrences in the training texts for a token to be kept. Default: 1.",
    )
    max_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Of those, at most the most frequent. Default: all."
    )


class Prune(ApiModel):
    """Take away what the model needs least."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "has(self.ratio) != has(self.keepLayers)",
            "prune takes either ratio or, with method: layers, keepLayers",
        ): lambda self: (self.ratio is None) != (self.keep_layers is None),
        Rule("!has(self.keepLayers) || self.method == 'layers'", "keepLayers belongs to method: layers"): lambda self: (
            self.keep_layers is None or self.method == "layers"
        ),
        Rule(
            "!has(self.finetuneEpochs) || !(self.method in ['trees', 'neighbours'])",
            "the first trees of an ensemble and the nearest neighbours of an item need no recovery: remove "
            "finetuneEpochs",
        ): lambda self: self.finetune_epochs is None or self.method not in ("trees", "neighbours"),
    }

    method: Literal["layers", "ffn", "heads", "magnitude", "channels", "trees", "neighbours"] = Field(
        description="Of a text model: whole layers; neurons of the feed-forward parts; attention heads, in groups "
        "where they share keys and values; or single weights, set to zero. Of another network: channels. Of boosted "
        "trees: the last ones that were added, of each class alike. Of a model of neighbours: of each item the least "
        "similar ones."
    )
    ratio: float | None = Field(default=None, gt=0, lt=1, description="The share that goes.")
    keep_layers: list[Annotated[int, Field(ge=0, le=1000)]] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The layers that stay, counted from 0.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    finetune_epochs: int | None = Field(
        default=None, ge=1, le=1000, description="Recovery on the training labels. Default: none."
    )


class Student(ApiModel):
    """A shape of its own, trained from nothing. What is left out is as in the teacher."""

    layers: int | None = Field(default=None, ge=1, le=1000)
    hidden_size: int | None = Field(default=None, ge=1, le=65_536)
    intermediate_size: int | None = Field(default=None, ge=1, le=262_144)
    attention_heads: int | None = Field(default=None, ge=1, le=1024)


class Training(ApiModel):
    """What the steps that train share."""

    epochs: int | None = Field(default=None, ge=1, le=1000)
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    batch_size: int | None = Field(default=None, ge=1, le=4096, description="Default: 32.")
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Default: search.seed.")
    quantization_aware: Literal["int8", "int4"] | None = Field(
        default=None,
        description="Train with weights rounded as the later quantize step will (quantization-aware training).",
    )


class Distill(Training):
    """Learn from the original model's answers. Without layers or student the model teaches its own present form."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "!(has(self.keepLayers) && has(self.student))", "distill takes keepLayers or student, not both"
        ): lambda self: self.keep_layers is None or self.student is None
    }

    keep_layers: list[Annotated[int, Field(ge=0, le=1000)]] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The student is the model with these layers, counted from 0.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    student: Student | None = None
    temperature: float | None = Field(default=None, gt=0, le=100, description="Softens both answers. Default: 2.")
    alpha: float | None = Field(
        default=None, ge=0, le=1, description="Weight of the true labels; the rest is the teacher's. Default: 0.1."
    )
    hidden_loss: float | None = Field(
        default=None, ge=0, le=1000, description="Weight of the distance of hidden states. Default: 0."
    )
    attention_loss: float | None = Field(
        default=None, ge=0, le=1000, description="Weight of the distance of attention maps. Default: 0."
    )
    views: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Forms of each training text: as it is, and with words left out; in scripts without spaces, with "
        "the tokenizer's pieces left out. Default: 4.",
    )


class Finetune(Training):
    """Train on the labels once more."""


class Linear(ApiModel):
    """A linear model over the words of a text takes the place of the encoder. Trained on the labels, in seconds."""

    words: int = Field(
        default=20_000, ge=100, le=50_000, description="How many words count: those that move the scores most."
    )


class LowRank(ApiModel):
    """Store matrices as products of two thinner ones, where that is smaller."""

    energy: float = Field(gt=0, lt=1, description="Share of the squared singular values that stays.")


class Quantize(ApiModel):
    """Fewer bits for weights and activations."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "!has(self.blockSize) || self.blockSize in [16, 32, 64, 128]", "blockSize is one of: 16, 32, 64, 128"
        ): lambda self: self.block_size in (None, 16, 32, 64, 128)
    }

    scheme: Literal["int8-dynamic", "int8-static", "int4-weight-only", "fp16", "bf16"]
    per_channel: bool | None = Field(default=None, description="int8. Default: true.")
    calibration_samples: int | None = Field(
        default=None, ge=8, le=10_000, description="int8-static: training rows for ranges. Default: 256."
    )
    calibration_method: Literal["minmax", "entropy", "percentile"] | None = Field(
        default=None, description="int8-static. Default: minmax."
    )
    block_size: int | None = Field(
        default=None,
        ge=16,
        le=128,
        description="int4-weight-only: weights that share a scale; 16, 32, 64 or 128. Default: 32.",
    )
    only: Literal["embeddings", "products"] | None = Field(
        default=None, description="int4-weight-only: embedding tables or matrix products alone. Default: both."
    )
    exclude: list[Annotated[str, Field(max_length=256)]] = Field(
        default_factory=list, max_length=64, description="Name parts of nodes that stay in full precision."
    )


STEP_FIELDS = ("vocabulary", "prune", "distill", "finetune", "linear", "optimize", "lowRank", "quantize")
"""The steps in the order in which they make sense: the trained form first, then the exported one."""


class Step(ApiModel):
    """One step of an ordered pipeline. Exactly one field is set."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            f"[{', '.join(f'has(self.{name})' for name in STEP_FIELDS)}].filter(set, set).size() == 1",
            f"a step is exactly one of: {', '.join(STEP_FIELDS)}",
        ): lambda self: len(_set_fields(self)) == 1
    }

    vocabulary: Vocabulary | None = None
    prune: Prune | None = None
    distill: Distill | None = None
    finetune: Finetune | None = None
    linear: Linear | None = None
    optimize: Literal["transformer-fusion"] | None = Field(
        default=None, description="Fuse attention, layer norm and GELU into single operators; no change of precision."
    )
    low_rank: LowRank | None = None
    quantize: Quantize | None = None

    @property
    def kind(self) -> str:
        """The field that is set, as it is written."""
        return _set_fields(self)[0]

    @property
    def parameters(self) -> Any:
        """The value of the field that is set."""
        return next(value for name in type(self).model_fields if (value := getattr(self, name)) is not None)

    @property
    def trains(self) -> bool:
        """Whether it works on the trained form (weights and tokenizer); the others work on the exported graph."""
        return self.kind in STEP_FIELDS[:4]


def _set_fields(step: Step) -> list[str]:
    return [name for name in STEP_FIELDS if name in step.wire()]


class SearchLimits(ApiModel):
    """How long `strategy: auto` may look."""

    max_trials: int = Field(default=24, ge=1, le=1000)
    max_duration_seconds: Seconds = 3600
    linear: bool = Field(
        default=True, description="Whether a linear model over words may take the place of a model of texts."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class Target(ApiModel):
    """Where the model will run: what is timed, and how."""

    device: Literal["cpu"] = "cpu"
    threads: int = Field(default=2, ge=1, le=256, description="Threads of the runtime while timing and serving.")


def _excluded(step: Step) -> list[str]:
    return step.quantize.exclude if step.quantize else []


def linear_alone(steps: Sequence[Step]) -> bool:
    """Whether a linear model, where there is one, is the first step, and none that trains follows."""
    kinds = [step.kind for step in steps]
    return "linear" not in kinds or (
        kinds.index("linear") == 0 and kinds.count("linear") == 1 and not any(step.trains for step in steps)
    )


def in_order(steps: Sequence[Step]) -> bool:
    """Whether steps on the trained model come first, then optimize, lowRank, quantize."""
    ranks = [0 if step.trains or step.linear is not None else STEP_FIELDS.index(step.kind) for step in steps]
    return ranks == sorted(ranks)


class CompressionJobSpec(StageSpec):
    """What may be lost, and what to win for it."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "(has(self.strategy) && self.strategy == 'steps') == has(self.steps)",
            "strategy: steps needs the list `steps`, and `steps` needs strategy: steps; strategy: auto takes none",
        ): lambda self: (self.strategy == "steps") == (self.steps is not None),
        Rule(
            "!has(self.steps) || self.steps.map(step, has(step.quantize) ? 3 : has(step.lowRank) ? 2 "
            ": has(step.optimize) ? 1 : 0).isSorted()",
            "steps must stand in this order: those on the trained model (vocabulary, prune, distill, finetune), "
            "then optimize, lowRank, quantize",
        ): lambda self: in_order(self.steps or []),
        Rule(
            "!has(self.steps) || !self.steps.exists(step, has(step.linear)) || (has(self.steps[0].linear) "
            "&& self.steps.exists_one(step, has(step.linear)) && !self.steps.exists(step, has(step.vocabulary) "
            "|| has(step.prune) || has(step.distill) || has(step.finetune)))",
            "linear makes a new model: it is the first step, and only optimize, lowRank and quantize can follow",
        ): lambda self: linear_alone(self.steps or []),
        Rule(
            "!has(self.steps) || self.steps.map(step, has(step.quantize) && has(step.quantize.exclude) "
            f"? step.quantize.exclude.map(part, part.size()).sum() : 0).sum() <= {EXCLUDED_LENGTH}",
            f"the exclude lists of all steps may have {EXCLUDED_LENGTH} characters together: name shorter parts",
        ): lambda self: sum(len(part) for step in self.steps or [] for part in _excluded(step)) <= EXCLUDED_LENGTH,
    }

    model_ref: TrainedModelReference
    budget: Budget
    objective: Literal["latency", "size"] = "latency"
    strategy: Literal["auto", "steps"] = "auto"
    steps: list[Step] | None = Field(
        default=None, min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    search: SearchLimits = Field(default_factory=SearchLimits)
    target: Target = Field(default_factory=Target)


class Interval(ApiModel):
    """A figure with its limits: of a speed-up its 95 % interval, of a drop one-sided limits at budget.confidence."""

    value: Figure
    low: Figure
    high: Figure


MetricDrops = Annotated[dict[MetricName, Figure], Field(max_length=MOST_METRICS)]


class Candidate(ApiModel):
    """One compressed model that was tried."""

    name: str = Field(max_length=256, description="Its steps, e.g. fusion+int8-dynamic.")
    size_bytes: Count
    size_ratio: Figure
    speedup: Interval | None = None
    drops: MetricDrops = Field(default_factory=dict, description="Metric: how much of it was lost.")
    class_recall_drop: Figure | None = None
    meets_budget: bool
    violations: list[Annotated[str, Field(max_length=256)]] = Field(default_factory=list, max_length=16)


Verdict = Literal["Accepted", "Rejected", "Inconclusive", "Infeasible"]


class Undecided(ApiModel):
    """A budget of which the test rows show neither that it is kept nor that it is broken."""

    budget: str = Field(max_length=64, description="The field of the budget.")
    class_name: Annotated[str | None, Field(alias="class")] = Field(
        default=None, max_length=256, description="The class that leaves the most doubt; absent: the split as a whole."
    )
    rows: Count = Field(description="Test rows of that class.")
    more_rows: Count | None = Field(
        default=None,
        description="About how many more of them would decide, answered like those that are there. Absent: they alone "
        "would not.",
    )
    more_rows_of_all: Count | None = Field(
        default=None,
        description="About how many more test rows of all classes would decide, where one class is not enough.",
    )
    certainty: Figure = Field(description="How sure the rows make us that the budget is kept, 0 to 1.")


class CompressionJobStatus(StageStatus):
    """The verdict and its evidence."""

    task: str | None = Field(default=None, max_length=64, description="Of the Dataset.")
    verdict: Verdict | None = Field(
        default=None,
        description="Accepted: shown, with the budget's confidence, to keep it. Rejected: shown to break it. "
        "Inconclusive: too few test rows to show either. Infeasible: nothing that was tried may keep it.",
    )
    undecided: list[Undecided] = Field(
        default_factory=list, max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    baseline: Evaluation | None = None
    evaluation: Evaluation | None = Field(default=None, description="Of the chosen candidate, on the test split.")
    chosen: str | None = Field(default=None, max_length=256)
    size_ratio: Figure | None = None
    speedup: Interval | None = None
    drops: MetricDrops = Field(default_factory=dict, description="Metric: how much of it was lost.")
    class_recall_drop: Figure | None = None
    flip_rate: Figure | None = Field(default=None, description="Share of test rows whose predicted class changed.")
    candidates: list[Candidate] = Field(
        default_factory=list, max_length=10, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    signature: Signature | None = Field(default=None, description="What a request to the model and an answer hold.")
    source_digest: str | None = Field(default=None, max_length=71)
    display: Display | None = None
