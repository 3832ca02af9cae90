"""CompressionJob: the smallest or fastest model that keeps a promise, with the evidence."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.common import StageSpec, StageStatus
from kaon.api.evaluation import Evaluation, Latency
from kaon.api.types import Count, Figure, Name, Ratio, Seconds

KIND = "CompressionJob"


class TrainedModelReference(ApiModel):
    """The TrainingRun whose model is compressed."""

    kind: Literal["TrainingRun"]
    name: Name


class Budget(ApiModel):
    """The contract, checked on the held-out test split. Fail-closed: a figure that is missing breaks it."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "has(self.maxAccuracyDrop) || has(self.maxMacroF1Drop) || has(self.maxClassRecallDrop)",
            "a budget must say what quality may be lost: set maxAccuracyDrop, maxMacroF1Drop or maxClassRecallDrop",
        ): lambda self: {self.max_accuracy_drop, self.max_macro_f1_drop, self.max_class_recall_drop} != {None}
    }

    max_accuracy_drop: Ratio | None = Field(default=None, description="0.01 = one point of accuracy.")
    max_macro_f1_drop: Annotated[Ratio | None, Field(alias="maxMacroF1Drop")] = None
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
        description="How sure the test rows must make us that no more quality is lost than allowed; one-sided.",
    )
    on_inconclusive: Literal["Reject", "Accept"] = Field(
        default="Reject",
        description="What becomes of a model of which the test rows are too few to tell. Accept: it is accepted when "
        "the drops as measured keep the budget.",
    )


class Quantize(ApiModel):
    """Fewer bits for weights and activations."""

    scheme: Literal["int8-dynamic", "int8-static", "fp16"]
    per_channel: bool | None = Field(default=None, description="Default: true.")
    calibration_samples: int | None = Field(
        default=None, ge=8, le=10_000, description="int8-static: training rows for ranges. Default: 256."
    )
    calibration_method: Literal["minmax", "entropy", "percentile"] | None = Field(
        default=None, description="int8-static. Default: minmax."
    )
    exclude: list[Annotated[str, Field(max_length=256)]] = Field(
        default_factory=list, max_length=64, description="Name parts of nodes that stay in full precision."
    )


class Step(ApiModel):
    """One step of an ordered pipeline. Exactly one field is set."""

    cel_rules: ClassVar[Rules] = {
        Rule("has(self.quantize) != has(self.optimize)", "a step is exactly one of: optimize, quantize"): lambda self: (
            (self.quantize is None) != (self.optimize is None)
        )
    }

    optimize: Literal["transformer-fusion"] | None = Field(
        default=None, description="Fuse attention, layer norm and GELU into single operators; no change of precision."
    )
    quantize: Quantize | None = None


class SearchLimits(ApiModel):
    """How long `strategy: auto` may look."""

    max_trials: int = Field(default=12, ge=1, le=1000)
    max_duration_seconds: Seconds = 3600
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class Target(ApiModel):
    """Where the model will run: what is timed, and how."""

    device: Literal["cpu"] = "cpu"
    threads: int = Field(default=2, ge=1, le=256, description="Threads of the runtime while timing and serving.")


class CompressionJobSpec(StageSpec):
    """What may be lost, and what to win for it."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "(has(self.strategy) && self.strategy == 'steps') == has(self.steps)",
            "strategy: steps needs the list `steps`, and `steps` needs strategy: steps; strategy: auto takes none",
        ): lambda self: (self.strategy == "steps") == (self.steps is not None)
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


class Candidate(ApiModel):
    """One compressed model that was tried."""

    name: str = Field(max_length=256, description="Its steps, e.g. fusion+int8-dynamic.")
    size_bytes: Count
    size_ratio: Figure
    speedup: Interval | None = None
    accuracy_drop: Figure | None = None
    macro_f1_drop: Annotated[Figure | None, Field(alias="macroF1Drop")] = None
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
    accuracy_drop: Figure | None = None
    macro_f1_drop: Annotated[Figure | None, Field(alias="macroF1Drop")] = None
    class_recall_drop: Figure | None = None
    flip_rate: Figure | None = Field(default=None, description="Share of test rows whose predicted class changed.")
    candidates: list[Candidate] = Field(
        default_factory=list, max_length=10, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    source_digest: str | None = Field(default=None, max_length=71)
