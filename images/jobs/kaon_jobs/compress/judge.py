"""The one look at the test split: the chosen candidate against the baseline, in turns, in one process.

Touches onnxruntime and child processes for memory. Measures; verdict.py decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaon.api.evaluation import Evaluation, Latency
from kaon_jobs.compress import timing
from kaon_jobs.compress.baseline import Baseline
from kaon_jobs.compress.figures import Measured
from kaon_jobs.compress.quality import compare
from kaon_jobs.compress.workbench import predictor
from kaon_jobs.data.splits import Rows
from kaon_jobs.evaluate.measure import BATCH_SIZE, serving_size
from kaon_jobs.evaluate.quality import quality
from kaon_jobs.evaluate.speed import instruction_sets, latency, peak_memory
from kaon_jobs.onnx_text import Floats, OnnxTextClassifier

TIMED_ROUNDS = 400
TIMED_SECONDS = 30.0
THROUGHPUT_BATCHES = 12
PROGRESS_ROWS = 128

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """What was measured on the test split."""

    measured: Measured
    baseline: Evaluation
    evaluation: Evaluation
    probabilities: Floats


def judge(baseline: Baseline, directory: Path, *, threads: int, seed: int, progress: Progress) -> Judged:
    """Measures the candidate in `directory` and the baseline on the whole test split. `progress` hears 0 to 1."""
    old, new = OnnxTextClassifier(baseline.directory, threads), OnnxTextClassifier(directory, threads)
    texts = baseline.test.texts
    probabilities = _one_by_one(new, texts, lambda share: progress(0.5 * share))
    spread = timed_texts(texts, TIMED_ROUNDS)
    timed = timing.interleave(predictor(old), predictor(new), spread, rounds=TIMED_ROUNDS, max_seconds=TIMED_SECONDS)
    progress(0.8)
    throughputs = _throughputs(old, new, spread)
    progress(0.9)
    memory = [peak_memory(folder, texts, threads) for folder in (baseline.directory, directory)]
    files = new.card.serving_files
    sizes = [serving_size(folder, files) for folder in (baseline.directory, directory)]
    progress(1.0)
    predicted = np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
    return Judged(
        measured=Measured(
            size_bytes=sizes[1],
            size_ratio=sizes[0] / sizes[1],
            quality=compare(baseline.test.label_ids, baseline.test_classes, predicted, baseline.labels, seed),
            latency=timed.candidate,
            baseline_latency=timed.baseline,
            speedup=timing.speedup(timed, seed),
            peak_memory_bytes=memory[1],
        ),
        baseline=_evaluation(
            baseline, baseline.test_probabilities, timed.baseline, throughputs[0], memory[0], sizes[0], threads
        ),
        evaluation=_evaluation(baseline, probabilities, timed.candidate, throughputs[1], memory[1], sizes[1], threads),
        probabilities=probabilities,
    )


def baseline_evaluation(baseline: Baseline, threads: int) -> Evaluation:
    """The baseline's evaluation when there is no candidate to time it against."""
    classifier = OnnxTextClassifier(baseline.directory, threads)
    texts = timed_texts(baseline.test.texts, 100)
    return _evaluation(
        baseline,
        baseline.test_probabilities,
        latency(classifier, texts),
        _throughputs(classifier, classifier, texts)[0],
        peak_memory(baseline.directory, baseline.test.texts, threads),
        serving_size(baseline.directory, classifier.card.serving_files),
        threads,
    )


def timed_texts(texts: Sequence[str], count: int) -> list[str]:
    """`count` texts spread over the split, so that no class or source is timed alone."""
    if len(texts) <= count:
        return list(texts)
    return [texts[index * len(texts) // count] for index in range(count)]


def _evaluation(
    baseline: Baseline,
    probabilities: Floats,
    speed: Latency,
    throughput: float,
    memory: int,
    size: int,
    threads: int,
) -> Evaluation:
    rows: Rows = baseline.test
    found = quality(rows.label_ids, probabilities, baseline.labels)
    return Evaluation(
        split="test",
        rows=len(rows),
        accuracy=found.accuracy,
        precision=found.precision,
        recall=found.recall,
        f1=found.f1,
        macro_f1=found.macro_f1,
        ece=found.ece,
        latency_ms=Latency(p50=round(speed.p50, 3), p99=round(speed.p99, 3)),
        throughput_per_second=throughput,
        peak_memory_bytes=memory,
        size_bytes=size,
        per_class=found.per_class,
        device=f"cpu, {threads} thread{'s' if threads != 1 else ''}",
        isa=instruction_sets(),
    )


def _one_by_one(classifier: OnnxTextClassifier, texts: Sequence[str], progress: Progress) -> Floats:
    """Batches of one, as a server is asked: dynamic ranges of a batch are those of all its rows."""
    found = []
    for start in range(0, len(texts), PROGRESS_ROWS):
        found.append(classifier.probabilities(texts[start : start + PROGRESS_ROWS], batch_size=1))
        progress(min(1.0, (start + PROGRESS_ROWS) / len(texts)))
    return np.concatenate(found)


def _throughputs(old: OnnxTextClassifier, new: OnnxTextClassifier, texts: Sequence[str]) -> tuple[float, float]:
    """Texts a second in batches, the two taking turns batch by batch."""
    chosen = texts[: THROUGHPUT_BATCHES * BATCH_SIZE]
    seconds = [0.0, 0.0]
    for start in range(0, len(chosen), BATCH_SIZE):
        for index, classifier in enumerate((old, new)):
            begin = time.perf_counter()
            classifier.probabilities(chosen[start : start + BATCH_SIZE], BATCH_SIZE)
            seconds[index] += time.perf_counter() - begin
    return round(len(chosen) / seconds[0], 1), round(len(chosen) / seconds[1], 1)
