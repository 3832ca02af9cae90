"""report.json: everything a verdict rests on, as a schema. Pure.

`version` rises when a field changes its meaning; fields may be added without. All times are milliseconds, sizes bytes,
drops absolute (0.01 = one point). Intervals of times and ratios are 95 %; `low` and `high` of a drop are one-sided
limits, each at the budget's confidence. Trials are measured on the validation split, `final` on the test split.
docs/compression-report.md describes the fields.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.compressionjob import Budget, Candidate, Interval, Step, Target, Undecided
from kaon.api.evaluation import Evaluation, Latency
from kaon_jobs.compress.statistics.decisions import Decision, Finding
from kaon_jobs.compress.statistics.speeds import Speeds
from kaon_jobs.compress.verdict.conclusion import Conclusion
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.selection import Contender, Standing

EVIDENCE_VERSION = 3
MAX_CANDIDATES = 10
MAX_UNDECIDED = 16


class ClassEvidence(ApiModel):
    """One class before and after. Recalls are absent when the split has no row of the class."""

    label: str
    rows: int
    baseline_recall: float | None = None
    recall: float | None = None
    drop: Interval | None = None


class CandidateEvidence(ApiModel):
    """One candidate on one split. What was not measured is absent."""

    name: str
    steps: list[Step]
    split: str
    rows: int | None = None
    failure: str | None = Field(default=None, description="Why a technique could not make it.")
    standing: Standing | None = Field(default=None, description="On the validation split, as selection saw it.")
    chance: float | None = Field(
        default=None, description="That the true drops keep the budget, 0 to 1, as far as the validation split tells."
    )
    size_bytes: int | None = None
    size_ratio: float | None = None
    speedup: Interval | None = Field(default=None, description="Ratio of the p50s, measured in turns.")
    latency_ms: Latency | None = None
    baseline_latency_ms: Latency | None = None
    peak_memory_bytes: int | None = None
    drops: dict[str, Interval] = Field(default_factory=dict, description="Metric: how much of it is lost.")
    class_recall_drop: float | None = None
    flip_rate: float | None = None
    violations: list[str] = Field(
        default_factory=list,
        description="Budgets that the figures break, at their word; of a `final` that is rejected, what is shown.",
    )
    classes: list[ClassEvidence] = Field(default_factory=list)
    seconds: float | None = Field(default=None, description="What the trial took.")
    reused: bool = Field(default=False, description="Finished by an earlier attempt of this job.")


class DecisionEvidence(ApiModel):
    """A budget of quality held against the test rows; for the recall of classes one of these a class."""

    budget: str
    bound: float
    finding: Finding
    certainty: float = Field(description="How sure the rows make us that the budget is kept, 0 to 1.")
    drop: Interval | None = Field(default=None, description="Absent: the split has no row to tell.")
    class_name: Annotated[str | None, Field(alias="class")] = Field(
        default=None, description="The class whose recall it is, or the one that leaves the most doubt."
    )
    rows: int = Field(description="Rows of that class, or of the split.")
    more_rows: int | None = Field(default=None, description="Undecided: about how many more of them would decide.")
    more_rows_of_all: int | None = Field(
        default=None, description="Undecided, and one class is not enough: about how many more of all would decide."
    )


class SpeedEvidence(ApiModel):
    """Speed and memory of one model. Latency is of one example at a time, throughput of batches of 32."""

    p50_ms: Interval
    p99_ms: Interval
    throughput_per_second: Interval
    peak_memory_bytes: Interval = Field(description="Of three fresh processes: the median, the lowest, the highest.")


class StepEvidence(ApiModel):
    """What steps of the chosen pipeline bought and cost, on the validation split. Steps that were only measured
    together stand together."""

    name: str
    steps: list[Step]
    size_bytes: int = Field(description="After them.")
    saved_bytes: int
    p50_ms: float | None = Field(default=None, description="After them, from the ratio to the baseline.")
    saved_ms: float | None = None
    lost: dict[str, float] = Field(
        default_factory=dict, description="Metric: how much of it they lost; negative when won."
    )


class SensitivityEvidence(ApiModel):
    """A group of nodes and how far outputs move when it alone is quantized: the mean KL divergence of probabilities in
    nats; the mean squared distance of predictions over their variance."""

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
    predicts: Literal["class", "number", "items"] = "class"
    model_digest: str
    dataset_digest: str
    isa: str
    baseline: Evaluation
    final: CandidateEvidence | None = Field(default=None, description="The chosen candidate on the test split.")
    evaluation: Evaluation | None = Field(default=None, description="The same as `baseline`, of the chosen candidate.")
    decisions: list[DecisionEvidence] = Field(default_factory=list, description="What the verdict on quality rests on.")
    baseline_speed: SpeedEvidence | None = Field(default=None, description="Timed in turns with `final`.")
    final_speed: SpeedEvidence | None = None
    attribution: list[StepEvidence] = Field(default_factory=list, description="Step by step, of the chosen pipeline.")
    front: list[str] = Field(
        default_factory=list, description="Candidates that no other beats in both size and speed, smallest first."
    )
    trials: list[CandidateEvidence]
    search_ended: str
    sensitivity: list[SensitivityEvidence] = Field(default_factory=list)
    smallest_bytes: int = Field(description="The least that the graph can take, or the smallest structure took.")


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
        drops={name: _rounded(drop) for name, drop in quality.drops.items()} if quality else {},
        class_recall_drop=_round(worst.drop) if worst else None,
        flip_rate=_round(quality.flip_rate) if quality else None,
        violations=violations,
        classes=[
            ClassEvidence(
                label=item.label,
                rows=item.support,
                baseline_recall=_round(item.baseline_recall),
                recall=_round(item.recall),
                drop=_interval(item.drop_interval(quality.confidence)) if quality else None,
            )
            for item in (quality.classes if quality else ())
        ],
    )


def decision_evidence(item: Decision) -> DecisionEvidence:
    """One decision, as it stands in the report."""
    drop = None
    if item.drop is not None and item.low is not None and item.high is not None:
        drop = _interval(Interval(value=item.drop, low=item.low, high=item.high))
    return DecisionEvidence(
        budget=item.field,
        bound=item.bound,
        finding=item.finding,
        certainty=round(item.certainty, 4),
        drop=drop,
        class_name=item.label,
        rows=item.rows,
        more_rows=item.more_rows,
        more_rows_of_all=item.more_rows_of_all,
    )


def status_undecided(conclusion: Conclusion | None) -> list[Undecided]:
    """At most sixteen for the status, the most in doubt first."""
    return [
        Undecided(
            budget=item.field,
            class_name=item.label,
            rows=item.rows,
            more_rows=item.more_rows,
            more_rows_of_all=item.more_rows_of_all,
            certainty=round(item.certainty, 4),
        )
        for item in (conclusion.undecided[:MAX_UNDECIDED] if conclusion else ())
    ]


def speed_evidence(speeds: Speeds) -> SpeedEvidence:
    """Intervals of one model's speed and memory, as they stand in the report."""
    return SpeedEvidence(
        p50_ms=speeds.p50_ms,
        p99_ms=speeds.p99_ms,
        throughput_per_second=speeds.throughput_per_second,
        peak_memory_bytes=speeds.peak_memory_bytes,
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
        drops={name: drop.value for name, drop in evidence.drops.items()},
        class_recall_drop=evidence.class_recall_drop,
        meets_budget=not evidence.violations,
        violations=evidence.violations[:16],
    )


def _round(value: float | None) -> float | None:
    return None if value is None else _six(value)


def _interval(value: Interval | None) -> Interval | None:
    return None if value is None else _rounded(value)


def _rounded(value: Interval) -> Interval:
    return Interval(value=_six(value.value), low=_six(value.low), high=_six(value.high))


def _six(value: float) -> float:
    """To six decimals; a small figure to six digits, for the unit is anybody's."""
    return round(value, 6) if abs(value) >= 0.001 else float(f"{value:.6g}")


def _latency(value: Latency | None) -> Latency | None:
    return None if value is None else Latency(p50=round(value.p50, 3), p99=round(value.p99, 3))
