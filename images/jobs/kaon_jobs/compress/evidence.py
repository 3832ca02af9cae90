"""report.json: everything a verdict rests on, as a schema. Pure.

`version` rises when a field changes its meaning; fields may be added without. All times are milliseconds, sizes bytes,
drops absolute (0.01 = one point), intervals 95 %. Trials are measured on the validation split, `final` on the test
split.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.compressionjob import Budget, Candidate, Interval, Step, Target
from kaon.api.evaluation import Evaluation, Latency
from kaon_jobs.compress.figures import Measured
from kaon_jobs.compress.selection import Contender, Standing

EVIDENCE_VERSION = 1
MAX_CANDIDATES = 10


class ClassEvidence(ApiModel):
    """One class before and after. Recalls are absent when the split has no row of the class."""

    label: str
    rows: int
    baseline_recall: float | None = None
    recall: float | None = None
    drop: float | None = None


class CandidateEvidence(ApiModel):
    """One candidate on one split. What was not measured is absent."""

    name: str
    steps: list[Step]
    split: str
    rows: int | None = None
    failure: str | None = Field(default=None, description="Why a technique could not make it.")
    standing: Standing | None = Field(default=None, description="On the validation split, as selection saw it.")
    size_bytes: int | None = None
    size_ratio: float | None = None
    speedup: Interval | None = Field(default=None, description="Ratio of the p50s, measured in turns.")
    latency_ms: Latency | None = None
    baseline_latency_ms: Latency | None = None
    peak_memory_bytes: int | None = None
    accuracy_drop: Interval | None = None
    macro_f1_drop: Annotated[Interval | None, Field(alias="macroF1Drop")] = None
    class_recall_drop: float | None = None
    flip_rate: float | None = None
    violations: list[str] = Field(
        default_factory=list,
        description="Budgets that the figures break, taken at their word; selection forgives a row.",
    )
    classes: list[ClassEvidence] = Field(default_factory=list)
    seconds: float | None = Field(default=None, description="What the trial took.")
    reused: bool = Field(default=False, description="Finished by an earlier attempt of this job.")


class SensitivityEvidence(ApiModel):
    """A group of nodes and how far outputs move when it alone is quantized (mean KL divergence, nats)."""

    nodes: list[str]
    divergence: float


class Evidence(ApiModel):
    """The content of report.json."""

    version: int = EVIDENCE_VERSION
    verdict: str
    message: str
    budget: Budget
    objective: str
    strategy: str
    target: Target
    threads: int = Field(description="Threads used: the target's, or fewer where the pod has fewer processors.")
    seed: int
    model_digest: str
    dataset_digest: str
    isa: str
    baseline: Evaluation
    final: CandidateEvidence | None = Field(default=None, description="The chosen candidate on the test split.")
    trials: list[CandidateEvidence]
    search_ended: str
    sensitivity: list[SensitivityEvidence] = Field(default_factory=list)
    smallest_bytes: int = Field(description="Bound: no technique here stores the model in less.")


def candidate_evidence(
    name: str, steps: list[Step], split: str, measured: Measured, violations: list[str]
) -> CandidateEvidence:
    """The figures of one candidate."""
    quality = measured.quality
    worst = quality.worst_class if quality else None
    return CandidateEvidence(
        name=name,
        steps=steps,
        split=split,
        rows=quality.rows if quality else None,
        size_bytes=measured.size_bytes,
        size_ratio=_round(measured.size_ratio),
        speedup=_interval(measured.speedup),
        latency_ms=_latency(measured.latency),
        baseline_latency_ms=_latency(measured.baseline_latency),
        peak_memory_bytes=measured.peak_memory_bytes,
        accuracy_drop=_interval(quality.accuracy_drop) if quality else None,
        macro_f1_drop=_interval(quality.macro_f1_drop) if quality else None,
        class_recall_drop=_round(worst.drop) if worst else None,
        flip_rate=_round(quality.flip_rate) if quality else None,
        violations=violations,
        classes=[
            ClassEvidence(
                label=item.label,
                rows=item.support,
                baseline_recall=_round(item.baseline_recall),
                recall=_round(item.recall),
                drop=_round(item.drop),
            )
            for item in (quality.classes if quality else ())
        ],
    )


def status_candidates(
    front: list[Contender], others: list[Contender], final: CandidateEvidence | None
) -> list[Candidate]:
    """At most ten for the status: the chosen one with its test figures, the Pareto front, then what was nearest."""
    found = [] if final is None else [_candidate(final)]
    taken = {item.name for item in found}
    for item in [*front, *sorted(others, key=lambda one: (one.excess, one.name))]:
        if item.name not in taken and len(found) < MAX_CANDIDATES:
            taken.add(item.name)
            sentences = [violation.sentence for violation in item.violations]
            found.append(_candidate(candidate_evidence(item.name, [], "validation", item.measured, sentences)))
    return found


def _candidate(evidence: CandidateEvidence) -> Candidate:
    return Candidate(
        name=evidence.name,
        size_bytes=evidence.size_bytes or 0,
        size_ratio=evidence.size_ratio or 0.0,
        speedup=evidence.speedup,
        accuracy_drop=evidence.accuracy_drop.value if evidence.accuracy_drop else None,
        macro_f1_drop=evidence.macro_f1_drop.value if evidence.macro_f1_drop else None,
        class_recall_drop=evidence.class_recall_drop,
        meets_budget=not evidence.violations,
        violations=evidence.violations[:16],
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _interval(value: Interval | None) -> Interval | None:
    if value is None:
        return None
    return Interval(value=round(value.value, 6), low=round(value.low, 6), high=round(value.high, 6))


def _latency(value: Latency | None) -> Latency | None:
    return None if value is None else Latency(p50=round(value.p50, 3), p99=round(value.p99, 3))
