"""The evaluation of one exported model on one split, as it stands in a status and in an artifact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kaon.api.evaluation import Evaluation
from kaon.contract.manifest import ModelCard
from kaon.tasks.metrics import CLASSIFICATION
from kaon.tasks.registry import TASKS
from kaon_jobs.measure.quality import Quality, quality
from kaon_jobs.measure.ranking import RankingQuality, ranking_quality
from kaon_jobs.measure.regression import NumberQuality, number_quality
from kaon_jobs.measure.speed import instruction_sets, latency, peak_memory
from kaon_jobs.predict.onnx_model import BATCH_SIZE, Floats
from kaon_jobs.predict.opening import open_model

AnyQuality = Quality | NumberQuality | RankingQuality


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation and what it was made from."""

    evaluation: Evaluation
    answers: Floats
    """Probabilities [rows, classes], predictions [rows, 1], or items and their scores [rows, 2 ranks]."""
    quality: AnyQuality


def measure(
    directory: Path,
    examples: Sequence[Any],
    targets: NDArray[Any],
    *,
    split: str,
    threads: int,
    progress: Callable[[float], None] | None = None,
) -> Measured:
    """Predicts a whole split with the model in `directory` and times it.

    Args:
        targets: class of each example, as index into the model's labels; or its number, or items.
        progress: hears the share that is done, 0 to 1.
    """
    model = open_model(directory, threads)
    _tell(progress, 0.0)
    start = time.perf_counter()
    answers = model.answers(examples, BATCH_SIZE)
    seconds = time.perf_counter() - start
    _tell(progress, 0.6)
    found = quality_of(model.card, targets, answers)
    speed = latency(model, examples)
    _tell(progress, 0.8)
    evaluation = Evaluation(
        split=split,
        rows=len(examples),
        metrics=found.metrics,
        latency_ms=speed,
        throughput_per_second=round(len(examples) / seconds, 1),
        peak_memory_bytes=peak_memory(directory, examples, threads),
        size_bytes=serving_size(directory, model.card.serving_files),
        per_class=found.per_class if isinstance(found, Quality) else [],
        device=f"cpu, {threads} thread{'s' if threads != 1 else ''}",
        isa=instruction_sets(),
    )
    _tell(progress, 1.0)
    return Measured(evaluation, answers, found)


def quality_of(card: ModelCard, targets: NDArray[Any], answers: Floats) -> AnyQuality:
    """The metrics of a model's task, from its answers to a split.

    Args:
        targets: [rows], class ids, numbers or the items of each.
        answers: probabilities [rows, classes], predictions [rows, 1], or items and scores [rows, 2 ranks].
    """
    if card.ranks is not None:
        return ranking_quality(list(targets), answers[:, : card.ranks], card.items or 0)
    if not card.labels:
        return number_quality(targets, answers)
    task = TASKS.get(card.task)
    return quality(targets, answers, card.labels, task.metrics if task else CLASSIFICATION)


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Puts an evaluation among the files of an artifact."""
    text = json.dumps(evaluation.wire(), indent=1, ensure_ascii=False)
    (folder / "evaluation.json").write_text(text, encoding="utf-8")


def serving_size(directory: Path, serving_files: Sequence[str]) -> int:
    """Bytes of the files that a server needs."""
    return sum((directory / name).stat().st_size for name in serving_files)


def _tell(progress: Callable[[float], None] | None, share: float) -> None:
    if progress is not None:
        progress(share)
