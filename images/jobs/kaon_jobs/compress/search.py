"""`strategy: auto`: which pipeline to try next, from what the trials so far have shown. Pure, and the same each time.

First a short ladder of pipelines that measured well. When none of them keeps the quality budget, rescue: a scan says
which nodes suffer most under INT8, and the best pipeline is tried with them left in full precision, a few more each
time; then other calibrations; then storage in FP16. Pipelines that a size or speed budget rules out are not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaon.api.compressionjob import Budget, Quantize, SearchLimits, Step
from kaon.contract.digest import digest_of
from kaon_jobs.compress.selection import Contender, Standing
from kaon_jobs.compress.techniques import step_name

QUALITY_FIELDS = ("maxAccuracyDrop", "maxMacroF1Drop", "maxClassRecallDrop")
EXCLUDED_GROUPS = (1, 2, 4)
"""How many of the most sensitive groups stay in full precision, trial by trial."""
MAX_EXCLUDED = 64
"""Bound of Quantize.exclude."""

FUSION = Step(optimize="transformer-fusion")
DYNAMIC = Step(quantize=Quantize(scheme="int8-dynamic"))
STATIC = Step(quantize=Quantize(scheme="int8-static"))
HALF = Step(quantize=Quantize(scheme="fp16"))

# What a pipeline can reach at best: without eight-bit weights, this much smaller.
_SIZE_RATIO_AT_BEST = {"": 1.1, "fp16": 2.1}


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """Steps in their order: what one trial tries. Equal when they declare the same."""

    steps: tuple[Step, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.steps == other.steps

    def __hash__(self) -> int:
        # Steps hold lists, which have no hash of their own.
        return hash(digest_of([step.declared() for step in self.steps]))

    @property
    def before(self) -> Pipeline:
        """All but the last step."""
        return Pipeline(self.steps[:-1])

    @property
    def name(self) -> str:
        """As it stands in a status, e.g. `fusion+int8-dynamic`."""
        return "+".join(step_name(step) for step in self.steps)[:256]

    @property
    def quantize(self) -> Quantize | None:
        """The quantization in it, the last one."""
        return next((step.quantize for step in reversed(self.steps) if step.quantize is not None), None)


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial; `contender` is None when a technique failed."""

    pipeline: Pipeline
    contender: Contender | None


@dataclass(frozen=True, slots=True)
class Try:
    """Try this one."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Scan:
    """Find out which nodes suffer most under INT8, in the model that `prefix` makes."""

    prefix: Pipeline


@dataclass(frozen=True, slots=True)
class Done:
    """The search is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """What does not change during a search."""

    budget: Budget
    objective: str
    limits: SearchLimits
    baseline_bytes: int
    impossible: bool = False
    """A bound has proved the budget impossible: one trial, for the nearest candidate's figures."""

    @property
    def size_ratio(self) -> float:
        """The size ratio that the budget demands, 1 when it demands none."""
        by_bytes = self.baseline_bytes / self.budget.max_size_bytes if self.budget.max_size_bytes else 1.0
        return max(self.budget.min_size_ratio or 1.0, by_bytes)


def next_move(
    question: Question, tried: Sequence[Tried], sensitive: Sequence[Sequence[str]] | None, elapsed_seconds: float
) -> Try | Scan | Done:
    """The next trial.

    Args:
        sensitive: groups of node names, the most sensitive first; None before the scan.
    """
    if question.impossible and any(item.contender for item in tried):
        return Done("a bound proves the budget impossible")
    if len(tried) >= question.limits.max_trials:
        return Done(f"search.maxTrials {question.limits.max_trials} is reached")
    if tried and elapsed_seconds >= question.limits.max_duration_seconds:
        return Done(f"search.maxDurationSeconds {question.limits.max_duration_seconds} is reached")
    done = {item.pipeline for item in tried}
    fusible = not any(item.contender is None and item.pipeline.steps[:1] == (FUSION,) for item in tried)
    for pipeline in ladder(question, fusible):
        if pipeline not in done:
            return Try(pipeline)
    if not _rescue_helps(tried):
        return Done("the ladder is tried")
    base = _best_int8(tried)
    if base is not None:
        if sensitive is None:
            return Scan(Pipeline(tuple(step for step in base.steps if step.quantize is None)))
        for pipeline in exclusions(base, sensitive):
            if pipeline not in done:
                return Try(pipeline)
    for pipeline in _last_resorts(question, fusible):
        if pipeline not in done:
            return Try(pipeline)
    return Done("every rescue is tried")


def ladder(question: Question, fusible: bool) -> list[Pipeline]:
    """The pipelines that are tried anyway. A model that fusion does not know gets them without it."""
    wanted = [(FUSION, DYNAMIC), (DYNAMIC,), (FUSION, STATIC), (FUSION,)] if fusible else [(DYNAMIC,), (STATIC,)]
    pipelines = [Pipeline(steps) for steps in wanted]
    return [item for item in pipelines if _can_reach(question, item)]


def exclusions(base: Pipeline, sensitive: Sequence[Sequence[str]]) -> list[Pipeline]:
    """`base` with the most sensitive groups of nodes left in full precision, one more list each time."""
    found = []
    for count in EXCLUDED_GROUPS:
        if count >= len(sensitive):
            break
        names = [name for group in sensitive[:count] for name in group]
        if len(names) > MAX_EXCLUDED or any(len(name) > 256 for name in names):
            break
        *before, last = base.steps
        if last.quantize is not None:
            quantize = last.quantize.model_copy(update={"exclude": names})
            found.append(Pipeline((*before, Step(quantize=quantize))))
    return found


def _last_resorts(question: Question, fusible: bool) -> list[Pipeline]:
    first = (FUSION,) if fusible else ()
    calibrated = [
        Pipeline((*first, Step(quantize=Quantize(scheme="int8-static", calibration_method=method))))
        for method in ("entropy", "percentile")
    ]
    half = Pipeline((*first, HALF))
    return [*calibrated, *([half] if _can_reach(question, half) else [])]


def _can_reach(question: Question, pipeline: Pipeline) -> bool:
    scheme = pipeline.quantize.scheme if pipeline.quantize else ""
    at_best = _SIZE_RATIO_AT_BEST.get(scheme)
    if at_best is None:
        return True
    if question.objective == "size" and scheme == "":
        return False
    # Half the bytes are cast back before they are used: never faster on a CPU.
    if scheme == "fp16" and (question.budget.min_speedup or 0) >= 1:
        return False
    if scheme == "fp16" and question.objective == "latency" and question.budget.min_speedup is None:
        return False
    return question.size_ratio <= at_best


def _rescue_helps(tried: Sequence[Tried]) -> bool:
    """No quantized one keeps the budget, and quality is what some miss: full precision for some nodes may help."""
    contenders = [item.contender for item in tried if item.contender is not None and item.pipeline.quantize is not None]
    if any(item.standing is Standing.KEEPS for item in contenders):
        return False
    return any(violation.field in QUALITY_FIELDS for item in contenders for violation in item.violations)


def _best_int8(tried: Sequence[Tried]) -> Pipeline | None:
    """Of the INT8 pipelines without exclusions, the one that is nearest to the budget."""
    plain = [
        (item.contender.excess, index, item.pipeline)
        for index, item in enumerate(tried)
        if item.contender is not None
        and item.pipeline.quantize is not None
        and item.pipeline.quantize.scheme.startswith("int8")
        and not item.pipeline.quantize.exclude
    ]
    return min(plain, key=lambda entry: entry[:2])[2] if plain else None
