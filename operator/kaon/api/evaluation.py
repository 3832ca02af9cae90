"""The figures of an evaluation. Measured by pods, decided on by controllers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.metrics import MetricFigures
from kaon.api.types import Count, Figure
from kaon.tasks.base import Task


class Latency(ApiModel):
    """Latency of one prediction of batch size 1, in milliseconds."""

    p50: Figure
    p99: Figure


class ClassFigures(ApiModel):
    """Quality of one class on the split evaluated."""

    label: str = Field(max_length=256)
    precision: Figure
    recall: Figure
    f1: Figure
    support: Count = Field(description="Rows of this class.")


class SimpleBaseline(ApiModel):
    """What a simple model of the task, trained on the same rows in seconds, reaches on the same split."""

    name: str = Field(max_length=64, description="Which model it is.")
    metrics: MetricFigures = Field(description="The task's metrics, by name.")

    def value(self, name: str) -> float | None:
        """A metric as measured; None when it was not."""
        found = self.metrics.get(name)
        return found.value if found else None


class Evaluation(ApiModel):
    """Quality, size, speed and memory of one exported model on one split."""

    split: str = Field(max_length=32)
    rows: Count
    metrics: MetricFigures = Field(default_factory=dict, description="The task's metrics, by name.")
    baseline: SimpleBaseline | None = Field(
        default=None, description="What a simple model of the task reaches on the same split."
    )
    latency_ms: Latency | None = None
    throughput_per_second: Figure | None = None
    peak_memory_bytes: Count | None = None
    size_bytes: Count | None = Field(default=None, description="Bytes on disk of the files that serving needs.")
    per_class: list[ClassFigures] = Field(
        default_factory=list, max_length=200, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    device: str | None = Field(default=None, max_length=64)
    isa: str | None = Field(default=None, max_length=256, description="Instruction sets used, e.g. AVX512_VNNI.")

    def value(self, name: str) -> float | None:
        """A metric as measured; None when it was not."""
        found = self.metrics.get(name)
        return found.value if found else None


def beside_baseline(task: Task | None, found: Evaluation) -> str:
    """How the model stands beside the baseline: "A linear SVM is worse: accuracy 0.9000." Empty without one.

    It is better, or worse, when it is so in every metric that the task tells first, and differs at all.
    """
    simple = found.baseline
    if task is None or simple is None:
        return ""
    both = [
        (metric, theirs, metric.loss(mine, theirs))
        for metric in task.metrics
        if metric.name in task.headline
        and (mine := found.value(metric.name)) is not None
        and (theirs := simple.value(metric.name)) is not None
    ]
    if not both:
        return ""
    figures = ", ".join(f"{metric.title} {metric.written(theirs)}" for metric, theirs, _ in both)
    losses = [loss for *_, loss in both]
    if not any(losses):
        word = "just as good"
    elif min(losses) < 0 < max(losses):
        word = "better in one figure and worse in another"
    else:
        word = "worse" if max(losses) > 0 else "better"
    return f"A {simple.name} is {word}: {figures}."


Shown = Annotated[str | None, Field(max_length=32)]


class Display(ApiModel):
    """Figures of this status, rounded, as `kubectl get` prints them. For people: programs read the numbers."""

    quality: Annotated[str | None, Field(max_length=96)] = None
    smaller: Shown = None
    faster: Shown = None
