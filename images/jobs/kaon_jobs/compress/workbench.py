"""Makes candidates and measures them on the validation split, one trial at a time, each kept in the store.

Touches the scratch directory, the trial store and onnxruntime. Decides nothing: it returns records.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaon.api.compressionjob import Step
from kaon_jobs.compress import timing
from kaon_jobs.compress.calibration import Calibration
from kaon_jobs.compress.figures import Measured
from kaon_jobs.compress.quality import Classes, compare
from kaon_jobs.compress.search import Pipeline
from kaon_jobs.compress.techniques import TechniqueFailed, technique_of
from kaon_jobs.compress.trials import TrialRecord, TrialStore
from kaon_jobs.errors import StageFailure, Terminated
from kaon_jobs.evaluate.measure import serving_size
from kaon_jobs.evaluate.speed import peak_memory
from kaon_jobs.onnx_text import MODEL_FILE, OnnxTextClassifier
from kaon_jobs.store import sha256_file

log = logging.getLogger(__name__)

TIMED_ROUNDS = 120
TIMED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Question:
    """What every candidate is asked: validation texts, their classes, and what the baseline said."""

    texts: Sequence[str]
    truth: Classes
    baseline: Classes


class Workbench:
    """Candidates of one baseline."""

    def __init__(
        self,
        source: Path,
        scratch: Path,
        question: Question,
        data: Calibration,
        trials: TrialStore,
        *,
        threads: int,
        seed: int,
        measure_memory: bool,
    ) -> None:
        self.baseline = OnnxTextClassifier(source, threads)
        self.card = self.baseline.card
        self.baseline_bytes = serving_size(source, self.card.serving_files)
        self.data = data
        self._source = source
        self._scratch = scratch
        self._question = question
        self._trials = trials
        self._threads = threads
        self._seed = seed
        self._measure_memory = measure_memory
        self._built: dict[Pipeline, Path] = {Pipeline(()): source}

    def find(self, pipeline: Pipeline) -> TrialRecord | None:
        """The record of a trial that an earlier attempt has finished."""
        return self._trials.find(list(pipeline.steps))

    def run(self, pipeline: Pipeline) -> tuple[TrialRecord, str]:
        """Runs one trial and keeps it. Returns its record and where it is kept."""
        start = time.monotonic()
        try:
            directory = self.build(pipeline)
        except TechniqueFailed as error:
            log.info("%s: %s", pipeline.name, error)
            record = TrialRecord(
                name=pipeline.name, steps=list(pipeline.steps), failure=str(error)[:2000], seconds=_since(start)
            )
            return record, self._trials.put(record, None)
        candidate = OnnxTextClassifier(directory, self._threads)
        texts = self._question.texts
        # One by one, as a server is asked: dynamic ranges of a batch are those of all its rows.
        predictions = candidate.probabilities(texts, batch_size=1).argmax(axis=1)
        timed = timing.interleave(
            predictor(self.baseline), predictor(candidate), texts, rounds=TIMED_ROUNDS, max_seconds=TIMED_SECONDS
        )
        record = TrialRecord(
            name=pipeline.name,
            steps=list(pipeline.steps),
            model_sha256=sha256_file(directory / MODEL_FILE),
            size_bytes=serving_size(directory, self.card.serving_files),
            predictions=[int(value) for value in predictions],
            baseline_ms=[round(value, 4) for value in timed.baseline_ms],
            candidate_ms=[round(value, 4) for value in timed.candidate_ms],
            peak_memory_bytes=peak_memory(directory, texts, self._threads) if self._measure_memory else None,
            seconds=_since(start),
        )
        return record, self._trials.put(record, directory / MODEL_FILE)

    def measured(self, record: TrialRecord) -> Measured:
        """The figures of a trial that did not fail."""
        timed = timing.Timing(tuple(record.baseline_ms), tuple(record.candidate_ms))
        return Measured(
            size_bytes=record.size_bytes,
            size_ratio=self.baseline_bytes / record.size_bytes,
            quality=compare(
                self._question.truth,
                self._question.baseline,
                np.asarray(record.predictions, dtype=np.int64),
                self.card.labels,
                self._seed,
            ),
            latency=timed.candidate,
            baseline_latency=timed.baseline,
            speedup=timing.speedup(timed, self._seed),
            peak_memory_bytes=record.peak_memory_bytes,
        )

    def model(self, record: TrialRecord) -> Path:
        """The model directory of a finished trial: made in this process, else from the store, else made again."""
        pipeline = Pipeline(tuple(record.steps))
        if pipeline not in self._built:
            directory = self._directory()
            if self._trials.fetch_model(record, directory / MODEL_FILE):
                self._built[pipeline] = directory
        return self.build(pipeline)

    def build(self, pipeline: Pipeline) -> Path:
        """The model directory that the pipeline makes; what its first steps made before is used again.

        Raises:
            TechniqueFailed: a step cannot be done.
        """
        if pipeline not in self._built:
            source = self.build(pipeline.before)
            directory = self._directory()
            _apply(pipeline.steps[-1], source, directory, self.data)
            self._built[pipeline] = directory
        return self._built[pipeline]

    def _directory(self) -> Path:
        """A new model directory that holds all but the model."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        directory = self._scratch / f"candidate-{len(list(self._scratch.iterdir()))}"
        directory.mkdir()
        for name in self.card.serving_files:
            if name != MODEL_FILE:
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._source / name, target)
        return directory


def predictor(classifier: OnnxTextClassifier) -> timing.Predict:
    """One text, from string to scores: what is timed."""
    return lambda text: classifier.run(classifier.encode([text]))


def _apply(step: Step, source: Path, target: Path, data: Calibration) -> None:
    try:
        technique_of(step).apply(source, target, data)
        # A graph that does not load is a failure of the technique, and is noticed here rather than in the timing.
        OnnxTextClassifier(target, threads=1).probabilities(data.draw(1))
    except (TechniqueFailed, Terminated, StageFailure, MemoryError, OSError):
        raise
    except Exception as error:
        # onnxruntime's tools raise whatever comes (AssertionError, ValueError, InferenceError …) on a graph that they
        # do not know; that is an answer about this technique, and other techniques may do.
        log.warning("the technique failed", exc_info=True)
        raise TechniqueFailed(f"{type(error).__name__}: {str(error)[:500]}") from error


def _since(start: float) -> float:
    return round(time.monotonic() - start, 2)
