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
    """A ratio with its 95 % confidence interval."""

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


class CompressionJobStatus(StageStatus):
    """The verdict and its evidence."""

    verdict: Literal["Accepted", "Rejected", "Infeasible"] | None = None
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
