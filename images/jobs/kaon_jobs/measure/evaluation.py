"""The evaluation of one exported model on one split, as it stands in a status and in an artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaon.api.evaluation import Evaluation
from kaon_jobs.measure.quality import Floats, Ids, Quality, quality
from kaon_jobs.measure.speed import instruction_sets, latency, peak_memory
from kaon_jobs.predict.onnx_model import BATCH_SIZE
from kaon_jobs.predict.opening import open_model


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation and what it was made from."""

    evaluation: Evaluation
    probabilities: Floats
    quality: Quality


def measure(
    directory: Path,
    examples: Sequence[Any],
    true_ids: Ids,
    *,
    split: str,
    threads: int,
    progress: Callable[[float], None] | None = None,
) -> Measured:
    """Predicts a whole split with the model in `directory` and times it.

    Args:
        true_ids: class of each example, as index into the model's labels.
        progress: hears the share that is done, 0 to 1.
    """
    classifier = open_model(directory, threads)
    _tell(progress, 0.0)
    start = time.perf_counter()
    probabilities = classifier.answers(examples, BATCH_SIZE)
    seconds = time.perf_counter() - start
    _tell(progress, 0.6)
    found = quality(true_ids, probabilities, classifier.labels)
    speed = latency(classifier, examples)
    _tell(progress, 0.8)
    evaluation = Evaluation(
        split=split,
        rows=len(examples),
        metrics=found.metrics,
        latency_ms=speed,
        throughput_per_second=round(len(examples) / seconds, 1),
        peak_memory_bytes=peak_memory(directory, examples, threads),
        size_bytes=serving_size(directory, classifier.card.serving_files),
        per_class=found.per_class,
        device=f"cpu, {threads} thread{'s' if threads != 1 else ''}",
        isa=instruction_sets(),
    )
    _tell(progress, 1.0)
    return Measured(evaluation, probabilities, found)


def serving_size(directory: Path, serving_files: Sequence[str]) -> int:
    """Bytes of the files that a server needs."""
    return sum((directory / name).stat().st_size for name in serving_files)


def _tell(progress: Callable[[float], None] | None, share: float) -> None:
    if progress is not None:
        progress(share)
