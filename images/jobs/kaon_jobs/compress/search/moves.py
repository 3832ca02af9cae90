"""The words of a search: pipelines, what has been seen of them, and what may be done next. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kaon.api.compressionjob import Budget, Linear, LowRank, Prune, Quantize, SearchLimits, Step
from kaon.contract.digest import digest_of
from kaon_jobs.compress.search.shape import Shape
from kaon_jobs.compress.verdict.figures import LATENCY_DOUBT
from kaon_jobs.compress.verdict.naming import step_name
from kaon_jobs.compress.verdict.selection import Contender

FUSION = Step(optimize="transformer-fusion")
DYNAMIC = Step(quantize=Quantize(scheme="int8-dynamic"))
STATIC = Step(quantize=Quantize(scheme="int8-static"))
HALF = Step(quantize=Quantize(scheme="fp16"))
LINEAR_WORDS = (20_000, 5_000, 2_000, 1_000, 500)
TABLES_IN_INT4 = Step(quantize=Quantize(scheme="int4-weight-only", only="embeddings"))


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

    @property
    def reshapes(self) -> bool:
        """Whether it works on the trained form, and not on the exported graph alone."""
        return any(step.trains for step in self.steps)


def first_trees(count: int, of: int) -> Pipeline:
    """The first `count` of the trees of a boosted ensemble."""
    return Pipeline((Step(prune=Prune(method="trees", ratio=round(1 - count / of, 4))),))


def linear_models(words: int | None) -> tuple[Pipeline, ...]:
    """Linear models that may take a text model's place, the largest first. words: of a model that is linear itself."""
    return tuple(
        Pipeline((Step(linear=Linear(words=count)),)) for count in LINEAR_WORDS if words is None or count < words
    )


RANKINGS = tuple(
    map(
        Pipeline,
        (
            (DYNAMIC,),
            (Step(prune=Prune(method="neighbours", ratio=0.5)), DYNAMIC),
            (Step(prune=Prune(method="neighbours", ratio=0.8)), DYNAMIC),
            (Step(low_rank=LowRank(energy=0.9)), DYNAMIC),
            (Step(low_rank=LowRank(energy=0.8)), DYNAMIC),
            (Step(low_rank=LowRank(energy=0.6)), DYNAMIC),
            (HALF,),
        ),
    )
)
"""What is tried of a model that ranks items. Which of them apply depends on what it holds: a matrix or neighbours."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial; `contender` is None when a technique failed."""

    pipeline: Pipeline
    contender: Contender | None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Probed:
    """A structure that was built and timed without being trained. Its figures are None when it could not be built."""

    pipeline: Pipeline
    size_ratio: float | None = None
    speedup: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a search knows."""

    tried: Sequence[Tried] = ()
    probed: Sequence[Probed] = ()
    sensitive: Sequence[Sequence[str]] | None = None
    """Groups of node names, the most sensitive first; None before the scan."""
    elapsed_seconds: float = 0.0

    def probe(self, pipeline: Pipeline) -> Probed | None:
        """What was found of a structure; None when it was not looked at yet."""
        return next((item for item in self.probed if item.pipeline == pipeline), None)


@dataclass(frozen=True, slots=True)
class Try:
    """Try this one."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Probe:
    """Build and time this structure, untrained."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Scan:
    """Find out which nodes suffer most under INT8, in the model that `prefix` makes."""

    prefix: Pipeline


@dataclass(frozen=True, slots=True)
class Done:
    """The search is over. `bound` says which budget cannot be met, and why, where that was found out."""

    reason: str
    bound: str | None = None


Move = Try | Probe | Scan | Done


@dataclass(frozen=True, slots=True)
class Question:
    """What does not change during a search."""

    budget: Budget
    objective: str
    limits: SearchLimits
    baseline_bytes: int
    impossible: bool = False
    """A bound has proved the budget impossible: one trial, for the nearest candidate's figures."""
    baseline_ms: float | None = None
    """The baseline's p50, as the first trial measured it."""
    shape: Shape | None = field(default=None)
    """Of the trained form; None when there is only the exported one, which can be quantized and no more."""
    linear: tuple[Pipeline, ...] = ()
    """Linear models that could take the model's place, the largest first."""
    trees: int = 0
    """Of an ensemble, of the output with the most trees; 0 for another model."""
    each: tuple[Pipeline, ...] = ()
    """Pipelines of which each is tried, and nothing else: of a model that ranks items."""
    fusible: bool = True
    """Whether fusion may know it: a model of texts."""

    @property
    def size_ratio(self) -> float:
        """The size ratio that the budget demands, 1 when it demands none."""
        by_bytes = self.baseline_bytes / self.budget.max_size_bytes if self.budget.max_size_bytes else 1.0
        return max(self.budget.min_size_ratio or 1.0, by_bytes)

    @property
    def speedup(self) -> float:
        """The speed-up that the budget and the objective demand."""
        implied = 1.0 if self.objective == "latency" else 0.0
        return max(self.budget.min_speedup or implied, self.speedup_by_latency)

    @property
    def speedup_by_latency(self) -> float:
        """The speed-up that `maxLatencyMs` asks for at least, by the baseline's p50; 0 when that is not known."""
        limit = self.budget.max_latency_ms
        if limit is None or self.baseline_ms is None:
            return 0.0
        return self.baseline_ms / LATENCY_DOUBT / max(min(limit.p50, limit.p99), 1e-9)
