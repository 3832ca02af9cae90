"""Runs trials: those that the search asks for, or those of the user's own steps. Each is reported while it runs.

Drives the workbench and the Report; which trial comes next is search.py's decision.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kaon.api.common import Checkpoint
from kaon.api.compressionjob import Step
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.search.auto import next_move
from kaon_jobs.compress.search.moves import Done, Pipeline, Probe, Probed, Question, Scan, Seen, Tried, Try
from kaon_jobs.compress.statistics import timing
from kaon_jobs.compress.trials.kept import TrialRecord
from kaon_jobs.compress.trials.sensitivity import Sensitivity, scan
from kaon_jobs.compress.trials.workbench import Workbench
from kaon_jobs.compress.verdict.selection import Contender, contender
from kaon_jobs.context import Context, now
from kaon_jobs.errors import StageFailure

log = logging.getLogger(__name__)

START_PERCENT, END_PERCENT = 10.0, 75.0
USUAL_TRIALS = 14
"""What a search takes when no limit ends it sooner; only a progress figure depends on it."""
TOLD_BY = 0.03
"""The share of a training from which its whole time is told."""
MISJUDGED = 1.1
"""The whole time told so may be wrong by this factor."""
JUDGE_IN_TRIALS = 2.5
"""The judgement, the report and the upload take about as long as this many trials."""


@dataclass(slots=True)
class Explored:
    """All trials of a job, in their order."""

    tried: list[Tried] = field(default_factory=list)
    records: dict[Pipeline, TrialRecord] = field(default_factory=dict)
    reused: set[Pipeline] = field(default_factory=set)
    sensitivity: list[Sensitivity] = field(default_factory=list)
    probed: list[Probed] = field(default_factory=list)
    ended: str = ""
    bound: str | None = None
    """Which budget cannot be met, and why, where the search has found that out."""

    @property
    def contenders(self) -> list[Contender]:
        """The candidates that could be made."""
        return [item.contender for item in self.tried if item.contender is not None]

    def record(self, name: str) -> TrialRecord:
        """The record of a candidate."""
        return next(record for record in self.records.values() if record.name == name)

    def smallest_bytes(self, baseline_bytes: int) -> list[int]:
        """Bytes of whatever was built, trained or not."""
        probed = [int(baseline_bytes / item.size_ratio) for item in self.probed if item.size_ratio]
        return [*probed, *(item.measured.size_bytes for item in self.contenders)]

    @property
    def seconds(self) -> float:
        """What the trials took, those of earlier attempts included."""
        return sum(record.seconds for record in self.records.values())


class OutOfTime(StageFailure):
    """A trial was given up, for it would not end before the search has to."""

    def __init__(self, message: str) -> None:
        super().__init__("OutOfTime", message)


class Patience:
    """Tells from the first steps of a training how long it will take."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._phase = ""
        self._began = 0.0

    def hear(self, phase: str, share: float) -> None:
        """Raises OutOfTime when the phase, of which that share is done, would not end in time."""
        now = self._clock()
        if phase != self._phase:
            self._phase, self._began = phase, now
        if share < TOLD_BY:
            return
        takes, left = (now - self._began) / share, self._end - self._began
        if takes > MISJUDGED * left:
            raise OutOfTime(f"{phase} would take {takes:.0f} s, and {max(0.0, left):.0f} s were left")


def explore(bench: Workbench, question: Question, context: Context, threads: int) -> Explored:
    """`strategy: auto`: trials until the search is done."""
    explored = Explored()
    start = time.monotonic()
    sensitive: list[tuple[str, ...]] | None = None
    expected = min(question.limits.max_trials, 1 if question.impossible else USUAL_TRIALS)
    while True:
        reused = sum(explored.records[item].seconds for item in explored.reused)
        elapsed = reused + time.monotonic() - start
        match next_move(question, Seen(explored.tried, explored.probed, sensitive, elapsed)):
            case Done(reason, bound):
                explored.ended, explored.bound = reason, bound
                return explored
            case Probe(pipeline):
                explored.probed.append(_probe(bench, pipeline, context, len(explored.probed)))
            case Scan(prefix):
                explored.sensitivity = _scan(bench, prefix, context, threads, len(explored.tried))
                sensitive = [item.nodes for item in explored.sensitivity]
            case Try(pipeline):
                expected = max(expected, len(explored.tried) + 1)
                left = question.limits.max_duration_seconds - elapsed if explored.tried else math.inf
                try:
                    _trial(bench, pipeline, explored, question, context, expected, left)
                except OutOfTime as reason:
                    log.info("%s: %s", pipeline.name, reason)
                    limit = question.limits.max_duration_seconds
                    explored.ended = f"search.maxDurationSeconds {limit} is too short for {pipeline.name}: {reason}"
                    return explored


def follow(bench: Workbench, steps: list[Step], question: Question, context: Context) -> Explored:
    """`strategy: steps`: every prefix of the list is a trial, so that each step has its own figures.

    Raises:
        StageFailure: StepFailed; a step cannot be done on this model.
    """
    explored = Explored(ended="the steps are done")
    for length in range(1, len(steps) + 1):
        pipeline = Pipeline(tuple(steps[:length]))
        _trial(bench, pipeline, explored, question, context, len(steps))
        failure = explored.records[pipeline].failure
        if failure is not None:
            raise StageFailure("StepFailed", f"spec.steps[{length - 1}] ({pipeline.name}) cannot be done: {failure}")
    return explored


def _trial(
    bench: Workbench,
    pipeline: Pipeline,
    explored: Explored,
    question: Question,
    context: Context,
    expected: int,
    seconds_left: float = math.inf,
) -> None:
    """Raises OutOfTime when training would take longer than that."""
    number, patience = len(explored.tried) + 1, Patience(seconds_left)

    def percent(share: float) -> float:
        return START_PERCENT + (END_PERCENT - START_PERCENT) * (number - 1 + share) / expected

    def heard(phase: str, share: float) -> None:
        context.reporter.progress(
            f"trial {number}/{expected}: {phase}"[:128], percent(share), step=number, total_steps=expected
        )
        patience.hear(phase, share)

    bench.data.progress = heard
    mean = explored.seconds / len(explored.records) if explored.records else None
    context.reporter.progress(
        f"trial {number}/{expected}: {pipeline.name}"[:128],
        percent(0.0),
        step=number,
        total_steps=expected,
        eta_seconds=None if mean is None else mean * (expected - number + 1 + JUDGE_IN_TRIALS),
        metrics=_best_figures(explored),
    )
    record = bench.find(pipeline)
    if record is not None:
        log.info("%s: finished by an earlier attempt", pipeline.name)
        explored.reused.add(pipeline)
        context.reporter.resumed(number)
    else:
        record, uri = bench.run(pipeline)
        context.reporter.checkpoint(Checkpoint(step=number, uri=uri, time=now()))
    explored.records[pipeline] = record
    found = None
    if record.failure is None:
        found = contender(pipeline.name, bench.measured(record), question.budget, question.objective)
        _log(found)
    explored.tried.append(Tried(pipeline, found, record.seconds))


def _probe(bench: Workbench, pipeline: Pipeline, context: Context, number: int) -> Probed:
    context.reporter.progress(f"probe {number + 1}: {pipeline.name}"[:128], START_PERCENT)
    bench.data.progress = lambda phase, share: None
    found = bench.probe(pipeline)
    if found is None:
        return Probed(pipeline)
    size, timed = found
    ratio = bench.baseline_bytes / size
    speedup = timing.speedup(timed, seed=0)
    log.info("%s: %.1f times smaller, %s", pipeline.name, ratio, f"{speedup.value:.2f} times faster" if speedup else "")
    return Probed(pipeline, ratio, speedup.value if speedup else None)


def _scan(bench: Workbench, prefix: Pipeline, context: Context, threads: int, tried: int) -> list[Sensitivity]:
    # One more trial at least comes after it: where that one begins, the scan stands.
    percent = START_PERCENT + (END_PERCENT - START_PERCENT) * tried / (tried + 1)

    def progress(done: int, total: int) -> None:
        context.reporter.progress(f"sensitivity scan {done + 1}/{total}", percent)

    return scan(bench.build(prefix), context.workdir, bench.data, threads, progress)


def _best_figures(explored: Explored) -> dict[str, float]:
    speeds = [item.measured.speedup.value for item in explored.contenders if item.measured.speedup]
    ratios = [item.measured.size_ratio for item in explored.contenders]
    return {"bestSpeedup": max(speeds), "bestSizeRatio": max(ratios)} if speeds else {}


def _log(found: Contender) -> None:
    measured, quality = found.measured, found.measured.quality
    log.info(
        "%s: %.1f MB, speed-up %s, %s, %s%s",
        found.name,
        measured.size_bytes / 1e6,
        f"{measured.speedup.value:.2f}" if measured.speedup else "unknown",
        ", ".join(
            f"{METRICS[name].loss_title} {drop.value:.4g}" for name, drop in (quality.drops if quality else {}).items()
        )
        or "quality unknown",
        found.standing,
        "".join(f"; {violation.sentence}" for violation in found.violations),
    )
