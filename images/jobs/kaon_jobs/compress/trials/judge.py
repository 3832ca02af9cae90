"""The one look at the test split: the chosen candidate against the baseline, in turns, in one process.

Touches onnxruntime and child processes for memory. Measures; verdict.py decides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kaon.api.compressionjob import Interval
from kaon.api.evaluation import Evaluation, Latency
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.statistics import timing
from kaon_jobs.compress.statistics.quality import Quality
from kaon_jobs.compress.statistics.speeds import Speeds, memory, percentile, throughput
from kaon_jobs.compress.trials.baseline import Baseline
from kaon_jobs.compress.trials.workbench import predictor
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.measure.evaluation import quality_of, serving_size
from kaon_jobs.measure.quality import Quality as ClassFigures
from kaon_jobs.measure.speed import instruction_sets, latency, peak_memory
from kaon_jobs.predict.onnx_model import BATCH_SIZE, Floats, OnnxModel
from kaon_jobs.predict.opening import open_model

log = logging.getLogger(__name__)

TIMED_ROUNDS = 400
TIMED_SECONDS = 30.0
THROUGHPUT_BATCHES = 24
MEMORY_PROCESSES = 3
PROGRESS_ROWS = 128

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """What was measured on the test split."""

    measured: Measured
    baseline: Evaluation
    evaluation: Evaluation
    answers: Floats
    """Of the candidate: probabilities [rows, classes], or predictions [rows, 1]."""
    speeds: tuple[Speeds, Speeds]
    """Of the baseline and of the candidate."""


def judge(
    baseline: Baseline, directory: Path, *, threads: int, seed: int, confidence: float, progress: Progress
) -> Judged:
    """Measures the candidate in `directory` and the baseline on the whole test split. `progress` hears 0 to 1."""
    old, new = open_model(baseline.directory, threads), open_model(directory, threads)
    examples = baseline.test.inputs
    answers = _one_by_one(new, examples, lambda share: progress(0.5 * share))
    unsaid = unanswered(answers) + unanswered_edges(directory, examples)
    spread = spread_over(examples, TIMED_ROUNDS)
    timed = timing.interleave(predictor(old), predictor(new), spread, rounds=TIMED_ROUNDS, max_seconds=TIMED_SECONDS)
    progress(0.8)
    throughputs = _throughputs(old, new, spread, seed)
    progress(0.9)
    folders = (baseline.directory, directory)
    # The processes take turns too: what else the machine does meets both.
    peaks = [tuple(peak_memory(folder, examples, threads) for folder in folders) for _ in range(MEMORY_PROCESSES)]
    files = new.card.serving_files
    sizes = [serving_size(folder, files) for folder in folders]
    progress(1.0)
    before = _speeds(timed.baseline_ms, throughputs[0], [peak for peak, _ in peaks], seed)
    after = _speeds(timed.candidate_ms, throughputs[1], [peak for _, peak in peaks], seed)
    return Judged(
        measured=Measured(
            size_bytes=sizes[1],
            size_ratio=sizes[0] / sizes[1],
            quality=quality_on_test(baseline, answers, seed, confidence),
            latency=timed.candidate,
            baseline_latency=timed.baseline,
            speedup=timing.speedup(timed, seed),
            peak_memory_bytes=int(after.peak_memory_bytes.high),
            unanswered=unsaid,
        ),
        baseline=_evaluation(baseline, baseline.test_answers, before, sizes[0], threads),
        evaluation=_evaluation(baseline, answers, after, sizes[1], threads),
        answers=answers,
        speeds=(before, after),
    )


def unanswered(answers: Floats) -> int:
    """Rows whose answer is not finite. Of probabilities the largest one would name a class all the same."""
    return int((~np.isfinite(answers).all(axis=1)).sum())


def unanswered_edges(directory: Path, examples: Sequence[Any]) -> int:
    """1 when the model does not answer at the ends of what it reads as it should, whatever the split holds."""
    try:
        check_edges(directory, examples)
    except TechniqueFailed as failure:
        log.warning("the candidate is not sound: %s", failure)
        return 1
    return 0


def quality_on_test(baseline: Baseline, answers: Floats, seed: int, confidence: float) -> Quality | None:
    """The candidate's quality on the test split; None when it does not answer every row."""
    if unanswered(answers):
        return None
    comparing = baseline.comparing
    return comparing.compare(baseline.test.targets, baseline.test_said, comparing.said(answers), seed, confidence)


def baseline_evaluation(baseline: Baseline, threads: int, seed: int) -> Evaluation:
    """The baseline's evaluation when there is no candidate to time it against."""
    classifier = open_model(baseline.directory, threads)
    examples = spread_over(baseline.test.inputs, 100)
    timed = latency(classifier, examples)
    peak = peak_memory(baseline.directory, baseline.test.inputs, threads)
    speeds = Speeds(
        _exactly(timed.p50),
        _exactly(timed.p99),
        _throughputs(classifier, classifier, examples, seed)[0],
        memory([peak]),
    )
    size = serving_size(baseline.directory, classifier.card.serving_files)
    return _evaluation(baseline, baseline.test_answers, speeds, size, threads)


def spread_over(examples: Sequence[Any], count: int) -> list[Any]:
    """`count` examples spread over the split, so that no class or source is timed alone."""
    if len(examples) <= count:
        return list(examples)
    return [examples[index * len(examples) // count] for index in range(count)]


def _evaluation(baseline: Baseline, answers: Floats, speeds: Speeds, size: int, threads: int) -> Evaluation:
    rows: Rows = baseline.test
    speed = Evaluation(
        split="test",
        rows=len(rows),
        latency_ms=Latency(p50=round(speeds.p50_ms.value, 3), p99=round(speeds.p99_ms.value, 3)),
        throughput_per_second=round(speeds.throughput_per_second.value, 1),
        peak_memory_bytes=round(speeds.peak_memory_bytes.value),
        size_bytes=size,
        device=f"cpu, {threads} thread{'s' if threads != 1 else ''}",
        isa=instruction_sets(),
    )
    if unanswered(answers):
        return speed
    found = quality_of(baseline.card, rows.targets, answers)
    per_class = found.per_class if isinstance(found, ClassFigures) else []
    return speed.model_copy(update={"metrics": found.metrics, "per_class": per_class})


def _speeds(times_ms: Sequence[float], examples_per_second: Interval, peaks: Sequence[int], seed: int) -> Speeds:
    return Speeds(percentile(times_ms, 0.5, seed), percentile(times_ms, 0.99, seed), examples_per_second, memory(peaks))


def _exactly(value: float) -> Interval:
    """A figure that was measured once, for want of anything to compare it with."""
    return Interval(value=value, low=value, high=value)


def _one_by_one(classifier: OnnxModel, examples: Sequence[Any], progress: Progress) -> Floats:
    """Batches of one, as a server is asked: dynamic ranges of a batch are those of all its rows."""
    found = []
    for start in range(0, len(examples), PROGRESS_ROWS):
        found.append(classifier.answers(examples[start : start + PROGRESS_ROWS], batch_size=1))
        progress(min(1.0, (start + PROGRESS_ROWS) / len(examples)))
    return np.concatenate(found)


def _throughputs(old: OnnxModel, new: OnnxModel, examples: Sequence[Any], seed: int) -> tuple[Interval, Interval]:
    """Examples a second in batches, the two taking turns batch by batch, in an order that alternates."""
    batches = [examples[start : start + BATCH_SIZE] for start in range(0, len(examples), BATCH_SIZE)]
    batches = [batches[index % len(batches)] for index in range(THROUGHPUT_BATCHES)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for number, batch in enumerate(batches):
        order = ((old, seconds[0]), (new, seconds[1]))
        for classifier, times in order if number % 2 == 0 else reversed(order):
            begin = time.perf_counter()
            classifier.answers(batch, BATCH_SIZE)
            times.append(time.perf_counter() - begin)
    sizes = [len(batch) for batch in batches]
    return throughput(sizes, seconds[0], seed), throughput(sizes, seconds[1], seed)
