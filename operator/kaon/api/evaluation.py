"""The figures of an evaluation, and the gates that read them. Measured by pods, decided on by controllers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.types import Count, Figure


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


class Evaluation(ApiModel):
    """Quality, size, speed and memory of one exported model on one split."""

    split: str = Field(max_length=32)
    rows: Count
    accuracy: Figure | None = None
    precision: Figure | None = Field(default=None, description="Weighted by support.")
    recall: Figure | None = Field(default=None, description="Weighted by support.")
    f1: Figure | None = Field(default=None, description="Weighted by support.")
    macro_f1: Annotated[Figure | None, Field(alias="macroF1")] = None
    ece: Figure | None = Field(default=None, description="Expected calibration error, 15 equal-width bins.")
    latency_ms: Latency | None = None
    throughput_per_second: Figure | None = None
    peak_memory_bytes: Count | None = None
    size_bytes: Count | None = Field(default=None, description="Bytes on disk of the files that serving needs.")
    per_class: list[ClassFigures] = Field(
        default_factory=list, max_length=200, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    device: str | None = Field(default=None, max_length=64)
    isa: str | None = Field(default=None, max_length=256, description="Instruction sets used, e.g. AVX512_VNNI.")


Shown = Annotated[str | None, Field(max_length=32)]


class Display(ApiModel):
    """Figures of this status, rounded, as `kubectl get` prints them. For people: programs read the numbers."""

    accuracy: Shown = None
    macro_f1: Annotated[Shown, Field(alias="macroF1")] = None
    smaller: Shown = None
    faster: Shown = None


class Minimum(ApiModel):
    """The gate of a stage: each figure must be at least this. A missing figure fails."""

    accuracy: float | None = Field(default=None, ge=0, le=1)
    precision: float | None = Field(default=None, ge=0, le=1)
    recall: float | None = Field(default=None, ge=0, le=1)
    f1: float | None = Field(default=None, ge=0, le=1)
    macro_f1: Annotated[float | None, Field(alias="macroF1", ge=0, le=1)] = None
