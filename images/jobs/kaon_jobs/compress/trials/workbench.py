"""Makes candidates and measures them on the validation split, one trial at a time, each kept in the store.

Touches the scratch directory, the trial store and onnxruntime. Decides nothing: it returns records.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from kaon.api.compressionjob import Step
from kaon.api.types import BUILTIN
from kaon.contract.digest import digest_of, short
from kaon_jobs.compress.families import channels, graph
from kaon_jobs.compress.families.forms import DESCRIPTIONS, is_trained_form
from kaon_jobs.compress.families.kinds import kind_of
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.families.trees import most_trees
from kaon_jobs.compress.search.moves import Pipeline
from kaon_jobs.compress.search.shape import Shape
from kaon_jobs.compress.statistics import timing
from kaon_jobs.compress.statistics.comparing import comparing_of
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.trials.kept import TrialRecord, TrialStore
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.naming import step_name
from kaon_jobs.errors import StageFailure, TechniqueFailed, Terminated
from kaon_jobs.learn.linear import words_of
from kaon_jobs.measure.evaluation import serving_size
from kaon_jobs.measure.speed import peak_memory
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE, Floats, OnnxModel
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE
from kaon_jobs.predict.opening import open_model

log = logging.getLogger(__name__)

TIMED_ROUNDS = 120
TIMED_SECONDS = 10.0
PROBE_ROUNDS = 60
PROBE_SECONDS = 4.0
EDGE_TEXTS = 16
"""Of which a text of full length is made, to be asked after each step on the graph."""
EXPORT_TEXTS = 32
"""On which an exported model must answer like the trained one."""


@dataclass(frozen=True, slots=True)
class Question:
    """What every candidate is asked: validation examples, their targets, and the baseline's answers."""

    examples: Sequence[Any]
    truth: NDArray[Any]
    baseline: Floats


class Workbench:
    """Candidates of one baseline."""

    def __init__(
        self,
        source: Path,
        scratch: Path,
        question: Question,
        data: Lessons,
        trials: TrialStore,
        *,
        threads: int,
        seed: int,
        measure_memory: bool,
    ) -> None:
        self.baseline = open_model(source, threads)
        self.card = self.baseline.card
        self._comparing = comparing_of(self.card.labels, self.card.ranks)
        self.baseline_bytes = serving_size(source, self.card.serving_files)
        self.data = data
        self._source = source
        self._scratch = scratch
        self._question = question
        self._trials = trials
        self._threads = threads
        self._seed = seed
        self._measure_memory = measure_memory
        self.kind = kind_of(source)
        self._count = 0
        self._built: dict[Pipeline, Path] = {Pipeline(()): source}

    def find(self, pipeline: Pipeline) -> TrialRecord | None:
        """The record of a trial that an earlier attempt has finished."""
        return self._trials.find(list(pipeline.steps))

    def run(self, pipeline: Pipeline) -> tuple[TrialRecord, str]:
        """Runs one trial and keeps it. Returns its record and where it is kept."""
        start = time.monotonic()
        examples = self._question.examples
        try:
            directory = self.build(pipeline)
            candidate = open_model(directory, self._threads)
            # One by one, as a server is asked: dynamic ranges of a batch are those of all its rows.
            answers = candidate.answers(examples, batch_size=1)
            if not np.isfinite(answers).all():
                raise TechniqueFailed(f"{pipeline.name}: what it makes answers rows with what is no number")
        except TechniqueFailed as error:
            log.info("%s: %s", pipeline.name, error)
            record = TrialRecord(
                name=pipeline.name, steps=list(pipeline.steps), failure=str(error)[:2000], seconds=_since(start)
            )
            return record, self._trials.put(record, None)
        timed = timing.interleave(
            predictor(self.baseline), predictor(candidate), examples, rounds=TIMED_ROUNDS, max_seconds=TIMED_SECONDS
        )
        record = TrialRecord(
            name=pipeline.name,
            steps=list(pipeline.steps),
            size_bytes=serving_size(directory, self.card.serving_files),
            predictions=self._comparing.said(answers).tolist(),
            divergence=self._comparing.divergence(self._question.baseline, answers),
            baseline_ms=[round(value, 4) for value in timed.baseline_ms],
            candidate_ms=[round(value, 4) for value in timed.candidate_ms],
            peak_memory_bytes=peak_memory(directory, examples, self._threads) if self._measure_memory else None,
            seconds=_since(start),
        )
        where = self._trials.put(record, directory)
        self._tidy(pipeline)
        return record, where

    def measured(self, record: TrialRecord) -> Measured:
        """The figures of a trial that did not fail."""
        timed = timing.Timing(tuple(record.baseline_ms), tuple(record.candidate_ms))
        return Measured(
            size_bytes=record.size_bytes,
            size_ratio=self.baseline_bytes / record.size_bytes,
            quality=self._comparing.compare(
                self._question.truth,
                self._comparing.said(self._question.baseline),
                np.asarray(record.predictions),
                self._seed,
            ),
            latency=timed.candidate,
            baseline_latency=timed.baseline,
            speedup=timing.speedup(timed, self._seed),
            peak_memory_bytes=record.peak_memory_bytes,
            divergence=record.divergence,
        )

    def probe(self, pipeline: Pipeline) -> tuple[int, timing.Timing] | None:
        """Bytes and time of a structure whose weights do not matter; None when it cannot be built."""
        name = f"probe-{short(digest_of([step.declared() for step in pipeline.steps]), 16)}.json"
        kept = self._trials.read(name)
        if kept is not None:
            return probe_of(kept)
        try:
            directory = self.build(pipeline)
        except TechniqueFailed as error:
            log.info("%s: %s", pipeline.name, error)
            self._trials.write(name, b"null")
            return None
        timed = timing.interleave(
            predictor(self.baseline),
            predictor(open_model(directory, self._threads)),
            self._question.examples,
            rounds=PROBE_ROUNDS,
            max_seconds=PROBE_SECONDS,
        )
        size = serving_size(directory, self.card.serving_files)
        found = {"sizeBytes": size, "baselineMs": timed.baseline_ms, "candidateMs": timed.candidate_ms}
        self._trials.write(name, json.dumps(found).encode())
        return size, timed

    def shape(self) -> Shape | None:
        """The shape of what can be reshaped; None when nothing can."""
        if self.kind == "network":
            return channels.shape_of(graph.load(self._source), len(self.data.rows))
        if self.kind != "encoder":
            return None
        from kaon_jobs.compress.families.encoder import shape_of

        return shape_of(self._source, self.data.encoded(self._source, 0))

    def trees(self) -> int:
        """Trees of an ensemble, of the output with the most; 0 for another model."""
        return most_trees(graph.load(self._source)) if self.kind == "trees" else 0

    def words(self) -> int | None:
        """Words that a linear model of texts reads; None of another model."""
        if self.card.reads != "text" or not (self.card.base_model or "").startswith(BUILTIN):
            return None
        return words_of(Tokenizer.from_file(str(self._source / TOKENIZER_FILE)))

    def model(self, record: TrialRecord) -> Path:
        """The model directory of a finished trial: made in this process, else from the store, else made again."""
        pipeline = Pipeline(tuple(record.steps))
        if pipeline not in self._built:
            directory = self._directory(self._source)
            if self._trials.fetch_model(record, directory):
                self._built[pipeline] = directory
        return self.build(pipeline)

    def build(self, pipeline: Pipeline) -> Path:
        """The model directory that the pipeline makes, exported; what its first steps made before is used again.

        Raises:
            TechniqueFailed: a step cannot be done.
        """
        directory = self._made(pipeline)
        if not (directory / MODEL_FILE).exists():
            from kaon_jobs.compress.families.encoder import export

            self.data.progress("exporting", 1.0)
            with _failures_of(step_name(pipeline.steps[-1])):
                export(directory, self.data.draw(EXPORT_TEXTS))
        return directory

    def _made(self, pipeline: Pipeline) -> Path:
        """The same, of the trained form perhaps, and then not exported before it is asked for."""
        if pipeline not in self._built:
            step = pipeline.steps[-1]
            if learns(step):
                kept = self._directory(self._source)
                if self._trials.fetch_trained(list(pipeline.steps), kept):
                    self._built[pipeline] = kept
                    return kept
            source = self._made(pipeline.before) if step.trains else self.build(pipeline.before)
            directory = self._directory(source)
            with _failures_of(step_name(step)):
                technique_of(step, self.kind).apply(source, directory, self.data)
                if (directory / MODEL_FILE).exists():
                    # A graph that does not load, or not answer, is noticed here rather than in the timing.
                    open_model(directory, threads=1).answers(self.data.draw(1))
                    check_edges(directory, self.data.draw(EDGE_TEXTS))
            if learns(step):
                self._trials.keep_trained(list(pipeline.steps), directory)
            self._built[pipeline] = directory
        return self._built[pipeline]

    def _tidy(self, pipeline: Pipeline) -> None:
        """Deletes what was exported on the way to a measured model: it is large, and made again in seconds."""
        for length in range(1, len(pipeline.steps)):
            prefix = Pipeline(pipeline.steps[:length])
            directory = self._built.get(prefix)
            if directory is None:
                continue
            if prefix.steps[-1].trains and is_trained_form(directory):
                (directory / MODEL_FILE).unlink(missing_ok=True)
            elif not prefix.steps[-1].trains:
                shutil.rmtree(directory)
                del self._built[prefix]

    def _directory(self, source: Path) -> Path:
        """A new model directory that holds all of `source` but the model."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._count += 1
        directory = self._scratch / f"candidate-{self._count}"
        directory.mkdir()
        for name in dict.fromkeys([*self.card.serving_files, CARD_FILE, *DESCRIPTIONS]):
            if name != MODEL_FILE and (source / name).is_file():
                target = directory / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target)
        return directory


def learns(step: Step) -> bool:
    """Whether a step takes minutes of training, so that what it made is worth keeping."""
    return bool(step.distill or step.finetune or (step.prune and step.prune.finetune_epochs))


def probe_of(kept: bytes) -> tuple[int, timing.Timing] | None:
    """What a probe found, as it was kept."""
    found = json.loads(kept)
    if found is None:
        return None
    return int(found["sizeBytes"]), timing.Timing(tuple(found["baselineMs"]), tuple(found["candidateMs"]))


def predictor(classifier: OnnxModel) -> timing.Predict:
    """One example, from what a client sends to scores: what is timed."""
    return lambda example: classifier.run(classifier.encode([example]))


@contextmanager
def _failures_of(step: str) -> Iterator[None]:
    """Whatever a technique raises, as a failure that names the step."""
    try:
        yield
    except TechniqueFailed as failure:
        raise TechniqueFailed(f"{step}: {failure}") from failure
    except (StageFailure, Terminated, MemoryError, OSError):
        raise
    except Exception as error:
        # onnxruntime's tools raise whatever comes (AssertionError, ValueError, InferenceError …) on a graph that they
        # do not know; that is an answer about this technique, and other techniques may do.
        log.warning("the technique failed", exc_info=True)
        raise TechniqueFailed(
            f"{step}: it does not know this model's graph: {type(error).__name__}: {str(error)[:500]}"
        ) from error


def _since(start: float) -> float:
    return round(time.monotonic() - start, 2)
