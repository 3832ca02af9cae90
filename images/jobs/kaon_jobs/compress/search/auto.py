"""`strategy: auto`: what to do next, from what the trials so far have shown. Pure, and the same each time.

Of a text model: first a linear model over words, which takes seconds and, where it keeps the budget, ends the search.
Of a model that can be reshaped: plain INT8 first, as the candidate to beat; then a few structures are built and timed
untrained, and from them it is known which structures can keep the budgets on size and speed at all (shape.py). What
nobody misses goes without training (tokens that never occur). Of the other structures, some are trained by successive
halving (students.py), and around the best Optuna looks further (widen.py).
Of an ensemble of trees: the first half of them, a quarter and so on, while the quality is kept, and then between the
last share that keeps it and the first that does not.
Of a model that ranks items: a short list, each of it.
Of any other, or when no structure keeps its quality: a short ladder of quantizations, then rescue: a scan
says which nodes suffer most under INT8, and the best pipeline is tried with them left in full precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from kaon.api.compressionjob import Quantize, Step
from kaon_jobs.compress.search.moves import (
    DYNAMIC,
    FUSION,
    HALF,
    STATIC,
    Done,
    Move,
    Pipeline,
    Probe,
    Question,
    Scan,
    Seen,
    Tried,
    Try,
    first_trees,
)
from kaon_jobs.compress.search.shape import Point, Shape, Structure, learn
from kaon_jobs.compress.search.students import by_weight, next_student, on_rung, student_of
from kaon_jobs.compress.search.widen import cheapest, widen, within
from kaon_jobs.compress.statistics.fields import of_quality
from kaon_jobs.compress.verdict.naming import three_digits
from kaon_jobs.compress.verdict.selection import MORE_LIKELY_THAN_NOT, SAME_SIZE, Standing, is_as_fast

EXCLUDED_GROUPS = (1, 2, 4)
"""How many of the most sensitive groups stay in full precision, trial by trial."""
MAX_EXCLUDED = 64
"""Bound of Quantize.exclude."""
PATIENCE = 6
"""Trials without a better one that keeps its budget, after which looking further is given up."""
MEASURED_DOUBT = 1.1
"""A speed-up of an untrained structure, timed briefly, may be off by this factor."""

TREE_SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16)
"""Of the trees of an ensemble, that are tried at first."""
SAME_TREES = 1.1
"""An ensemble with more trees by no more than this factor is not told apart further."""

# What a pipeline can reach at best: without eight-bit weights, this much smaller.
_SIZE_RATIO_AT_BEST = {"": 1.1, "fp16": 2.1}


def next_move(question: Question, seen: Seen) -> Move:
    """The next thing to do."""
    tried = seen.tried
    question = replace(question, baseline_ms=_baseline_ms(tried))
    if question.impossible and any(item.contender for item in tried):
        return Done("a bound proves the budget impossible")
    if len(tried) >= question.limits.max_trials:
        return Done(f"search.maxTrials {question.limits.max_trials} is reached")
    # A trial that would end after the time is up is not begun.
    next_seconds = max((item.seconds for item in tried[-3:]), default=0.0)
    if tried and seen.elapsed_seconds + next_seconds >= question.limits.max_duration_seconds:
        return Done(f"search.maxDurationSeconds {question.limits.max_duration_seconds} is reached")
    linear = _linear(question, tried)
    if linear is not None:
        return linear
    if question.each:
        done = {item.pipeline for item in tried}
        left = next((pipeline for pipeline in question.each if pipeline not in done), None)
        return Try(left) if left is not None else Done("all that there is for a model that ranks items is tried")
    if question.trees:
        return _trees(question.trees, tried)
    if question.shape is None or question.impossible:
        return _quantizations(question, seen)
    return _students(question, seen, question.shape)


def _linear(question: Question, tried: Sequence[Tried]) -> Move | None:
    """A linear model, while each smaller one keeps the budget; where one does, nothing else can be as small or fast."""
    found = {item.pipeline: item.contender for item in tried}
    kept = False
    for pipeline in question.linear:
        if pipeline not in found:
            return Try(pipeline)
        contender = found[pipeline]
        if contender is None or contender.standing is not Standing.KEEPS:
            break
        kept = True
    return Done("a linear model keeps the budget, and nothing else is as small and fast") if kept else None


def _trees(trees: int, tried: Sequence[Tried]) -> Move:
    """Fewer trees lose more and are smaller and faster: what counts is the fewest that keep the quality."""
    done = {item.pipeline for item in tried}
    kept, lost = trees, 0
    for count in dict.fromkeys(max(1, round(trees * share)) for share in TREE_SHARES):
        if count >= trees:
            continue
        if first_trees(count, trees) not in done:
            return Try(first_trees(count, trees))
        if _is_lossy(first_trees(count, trees), tried):
            lost = count
            break
        kept = count
    if not lost:
        return Done("the smallest share of the trees that is tried keeps the quality" if tried else "there is one tree")
    while kept - lost > 1 and kept > SAME_TREES * lost:
        middle = min(max(round(math.sqrt(kept * lost)), lost + 1), kept - 1)
        if first_trees(middle, trees) not in done:
            return Try(first_trees(middle, trees))
        kept, lost = (kept, middle) if _is_lossy(first_trees(middle, trees), tried) else (middle, lost)
    return Done("a smaller share of the trees loses too much")


def _baseline_ms(tried: Sequence[Tried]) -> float | None:
    """The baseline's p50 as the first trial measured it: what is asked for stays the same then."""
    latencies = (item.contender.measured.baseline_latency for item in tried if item.contender is not None)
    return next((latency.p50 for latency in latencies if latency is not None), None)


def _students(question: Question, seen: Seen, shape: Shape) -> Move:
    tails = shape.tails(_fusible(seen.tried), question.objective)
    done = {item.pipeline for item in seen.tried}
    for tail in tails:
        if tail and Pipeline(tail) not in done:
            return Try(Pipeline(tail))
    tails = [tail for tail in tails if not tail or not _is_lossy(Pipeline(tail), seen.tried)] or tails[:1]
    tail = tails[0]
    if len(tails) > 1:
        middle = [Pipeline((*shape.steps(shape.probes[1]), *tail)) for tail in tails]
        unknown = _unprobed(middle, seen)
        if unknown is not None:
            return Probe(unknown)
        tail = tails[_best_probed(question, middle, seen)]
    structures = [shape.smallest, *shape.probes]
    pipelines = [Pipeline((*shape.steps(structure), *tail)) for structure in structures]
    unknown = _unprobed(pipelines, seen)
    if unknown is not None:
        return Probe(unknown)
    points = _points(structures, pipelines, seen)
    if len(points) < 2:
        return _quantizations(question, seen)
    bound = _bound(question, points, shape)
    if bound is not None:
        lost = ". A linear model over words loses too much" if question.linear else ""
        return Done("no structure is small and fast enough", bound + lost)
    costs = learn(points, shape)
    # What can go without being missed needs no training.
    untrained = Pipeline((*shape.steps(shape.whole), *tail))
    if untrained.steps and untrained not in done and within(question, costs, shape.whole):
        return Try(untrained)
    allowed = [item for item in shape.first if within(question, costs, item)]
    allowed = allowed or [item for item in shape.rarer if within(question, costs, item)]
    if not allowed:
        allowed = [shape.smallest]
    for field in by_weight(allowed, shape):
        student = next_student(field, seen.tried, shape, question.objective, tail)
        if student is not None:
            return Try(student)
        if _may_keep([item for item in seen.tried if student_of(item.pipeline, shape) is not None]):
            break
    if not _may_keep(seen.tried):
        if within(question, costs, shape.whole):
            return _quantizations(question, seen)
        lost = ". So does a linear model over words" if question.linear else ""
        return Done(
            "the students that were trained lose too much", _too_lossy(question, allowed[0], shape, tail) + lost
        )
    if _idle(question, shape, seen.tried) >= PATIENCE:
        return Done(f"{PATIENCE} trials in a row found nothing better")
    wider = widen(question, costs, seen.tried, tail)
    return Try(wider) if wider is not None else Done("nothing smaller or faster is left to try")


def _may_keep(tried: Sequence[Tried]) -> bool:
    """Whether one of these may keep its budget."""
    return any(item.contender is not None and item.contender.standing is not Standing.BREAKS for item in tried)


def _is_lossy(pipeline: Pipeline, tried: Sequence[Tried]) -> bool:
    """Whether it could not be made, or likely loses more than the budget allows."""
    found = next(item.contender for item in tried if item.pipeline == pipeline)
    return found is None or found.chance < MORE_LIKELY_THAN_NOT


def _unprobed(pipelines: Sequence[Pipeline], seen: Seen) -> Pipeline | None:
    return next((item for item in pipelines if seen.probe(item) is None), None)


def _best_probed(question: Question, pipelines: Sequence[Pipeline], seen: Seen) -> int:
    """Which of the pipelines wins most by the objective, untrained as they are; of about as good ones, by the other
    figure too."""
    probes = [seen.probe(pipeline) for pipeline in pipelines]
    sizes = [found.size_ratio or 0.0 if found else 0.0 for found in probes]
    speeds = [found.speedup or 0.0 if found else 0.0 for found in probes]
    if question.objective == "size":
        about_as_good = [index for index, size in enumerate(sizes) if size * SAME_SIZE >= max(sizes)]
        return max(about_as_good, key=speeds.__getitem__)
    baseline = question.baseline_ms
    times = [baseline / speed if baseline is not None and speed > 0 else None for speed in speeds]
    least_ms = min((ms for ms in times if ms is not None), default=None)
    about_as_good = [
        index
        for index, (speed, ms) in enumerate(zip(speeds, times, strict=True))
        if is_as_fast(speed, max(speeds), ms, least_ms)
    ]
    return max(about_as_good, key=sizes.__getitem__)


def _points(structures: Sequence[Structure], pipelines: Sequence[Pipeline], seen: Seen) -> list[Point]:
    pairs = [(structure, seen.probe(pipeline)) for structure, pipeline in zip(structures, pipelines, strict=True)]
    return [
        Point(structure, found.size_ratio, found.speedup)
        for structure, found in pairs
        if found is not None and found.size_ratio is not None and found.speedup is not None
    ]


def _bound(question: Question, points: Sequence[Point], shape: Shape) -> str | None:
    """Which budget even the smallest structure breaks, untrained as it is."""
    small = max(point.size_ratio for point in points)
    if small < question.size_ratio:
        return (
            f"The size budget cannot be met: it asks for a model {three_digits(question.size_ratio)} times smaller, "
            f"and the smallest structure, {shape.smallest_in_words}, is {three_digits(small)} times smaller"
        )
    fast = max(point.speedup for point in points)
    if fast * MEASURED_DOUBT < question.speedup:
        return (
            f"The speed budget cannot be met: it asks for {_speed_asked(question)}, and the "
            f"smallest structure, {shape.smallest_in_words}, is {three_digits(fast)} times faster"
        )
    return None


def _speed_asked(question: Question) -> str:
    limit, baseline = question.budget.max_latency_ms, question.baseline_ms
    if limit is None or baseline is None or question.speedup > question.speedup_by_latency:
        return f"a model {three_digits(question.speedup)} times faster"
    return (
        f"{three_digits(min(limit.p50, limit.p99))} ms (maxLatencyMs) where the baseline takes "
        f"{three_digits(baseline)} ms, a model at least {three_digits(question.speedup)} times faster"
    )


def _too_lossy(question: Question, largest: Structure, shape: Shape, tail: Sequence[Step]) -> str:
    wanted = []
    if question.size_ratio > 1:
        wanted.append(f"{three_digits(question.size_ratio)} times smaller")
    if question.speedup > 1:
        wanted.append(f"{three_digits(question.speedup)} times faster")
    name = on_rung(largest, 0, shape).pipeline(shape, tail).name
    return (
        f"The quality budget cannot be met in a model {' and '.join(wanted) or 'that is not slower'}: each structure "
        f"that is loses too much after its training, the largest included ({name})"
    )


def _idle(question: Question, shape: Shape, tried: Sequence[Tried]) -> int:
    """How many trials there were since the cheapest student that keeps its budget."""
    best = cheapest(question, shape, tried)
    # While nothing keeps its budget yet: that much patience from the end of halving on.
    found = next((count for count in range(len(tried) + 1) if cheapest(question, shape, tried[:count]) == best), 0)
    return sum(1 for item in tried[found:] if _widened(item, shape))


def _widened(item: Tried, shape: Shape) -> bool:
    student = student_of(item.pipeline, shape)
    return student is not None and student.lessons[0].learning_rate is not None


def _fusible(tried: Sequence[Tried]) -> bool:
    return not any(item.contender is None and item.pipeline.steps[:1] == (FUSION,) for item in tried)


def _quantizations(question: Question, seen: Seen) -> Move:
    done = {item.pipeline for item in seen.tried}
    fusible = question.fusible and _fusible(seen.tried)
    for pipeline in ladder(question, fusible):
        if pipeline not in done:
            return Try(pipeline)
    if not _rescue_helps(seen.tried):
        return Done("the ladder is tried")
    base = _best_int8(seen.tried)
    if base is not None:
        if seen.sensitive is None:
            return Scan(Pipeline(tuple(step for step in base.steps if step.quantize is None)))
        for pipeline in exclusions(base, seen.sensitive):
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
    return any(of_quality(violation.field) for item in contenders for violation in item.violations)


def _best_int8(tried: Sequence[Tried]) -> Pipeline | None:
    """Of the INT8 pipelines without exclusions, the one that is nearest to the budget."""
    plain = [
        (item.contender.excess, index, item.pipeline)
        for index, item in enumerate(tried)
        if item.contender is not None
        and item.pipeline.quantize is not None
        and item.pipeline.quantize.scheme.startswith("int8")
        and not item.pipeline.reshapes
        and not item.pipeline.quantize.exclude
    ]
    return min(plain, key=lambda entry: entry[:2])[2] if plain else None
