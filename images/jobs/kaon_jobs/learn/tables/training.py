"""From rows to a trained, calibrated and exported model of a table, by the name of its kind.

`auto` trains each kind and keeps what is best on rows that it has not learnt from: one of them, or their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kaon_jobs.learn.calibration import ABSENT, sharpness
from kaon_jobs.learn.tables.boosting import fit_boosting
from kaon_jobs.learn.tables.columns import Layout
from kaon_jobs.learn.tables.graph import NUMBERS, Graph, table_graph
from kaon_jobs.learn.tables.linear import fit_linear, losses
from kaon_jobs.learn.tables.material import Doubles, Floats, Ids, Material, Progress, TableModel, Trained, parts_of
from kaon_jobs.learn.tables.network import fit_network
from kaon_jobs.learn.tables.preparation import LARGEST

KINDS: Mapping[str, Callable[[Material, Progress], Trained]] = {
    "linear": fit_linear,
    "lightgbm": fit_boosting,
    "mlp": fit_network,
}
"""Name of a builtin model -> how it is trained."""
AUTO = "auto"
MEAN = "mean"
"""Weighted, of the kinds' scores, each as sure as it should be: what AUTO also tries (Caruana et al. 2004)."""
MEAN_GAIN = 0.01
"""By which the loss of the mean must be less than the best kind's: it takes the time of all."""
_SHARES = {"linear": 1.0, "lightgbm": 3.0, "mlp": 6.0}
"""Of the time, about."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Rows as float32 numbers [rows, width], with their class ids or numbers."""

    numbers: Floats
    targets: NDArray[Any]

    def __post_init__(self) -> None:
        np.clip(self.numbers, -LARGEST, LARGEST, out=self.numbers)  # NaN stays


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How a model's scores become its answers: one matrix and one bias for all."""

    matrix: Doubles
    """[scores, answers]"""
    bias: Doubles
    """[answers]"""

    def answers(self, scores: Doubles) -> Doubles:
        """[rows, answers] of scores [rows, scores]."""
        return np.asarray(scores @ self.matrix + self.bias)

    def sharper(self, factor: float) -> Scale:
        """Of classes: more or less sure."""
        return Scale(self.matrix * factor, self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A kind of model as it was trained, and its losses on rows that it has not learnt from."""

    kind: str
    trained: Trained
    factor: float
    """Of the scores, which makes the probabilities as sure as they should be; 1 for numbers."""
    held: Ids
    """The rows that it has not learnt from, of Material."""
    scores: Doubles
    """[held rows, outputs], as sure as they should be."""
    losses: Doubles
    """[held rows]: log losses, or squared errors in squared deviations of the target."""


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The sum of some models' scores, each with a factor."""

    models: Sequence[tuple[TableModel, float]]

    def scores(self, rows: Floats) -> Doubles:
        """See TableModel."""
        return np.asarray(sum(model.scores(rows) * factor for model, factor in self.models))

    def add_to(self, graph: Graph, rows: str) -> str:
        """See TableModel."""
        each = [graph.add("Mul", model.add_to(graph, rows), factor) for model, factor in self.models]
        return graph.add("Sum", *each)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedTable:
    """The chosen model, and the others."""

    kind: str
    model: TableModel
    about: str
    scale: Scale
    factor: float
    candidates: Sequence[Candidate]
    held: int
    """Rows that the candidates were compared on."""
    width: int

    def answers(self, numbers: Floats) -> Doubles:
        """Logits [rows, classes], or predicted numbers [rows, 1]."""
        return self.scale.answers(self.model.scores(numbers))

    def answers_of(self, candidate: Candidate, numbers: Floats) -> Doubles:
        """The same, had this candidate been chosen."""
        scale = self.scale.sharper(candidate.factor / self.factor)
        return scale.answers(candidate.trained.model.scores(numbers))

    def loss(self, candidate: Candidate) -> float:
        """On the held rows: log loss of the classes, or RMSE in the unit of the numbers."""
        mean = float(candidate.losses.mean())
        return mean if len(self.scale.bias) > 1 else math.sqrt(mean) * float(self.scale.matrix[0, 0])

    def graph(self) -> onnx.ModelProto:
        """The same as ONNX: float32 numbers [rows, width] in, logits [rows, classes] or prediction [rows, 1] out."""
        graph, outputs = table_graph(self.width), len(self.scale.bias)
        scores = self.model.add_to(graph, NUMBERS)
        name = "logits" if outputs > 1 else "prediction"
        return graph.finished(graph.add("Gemm", scores, self.scale.matrix, self.scale.bias, name=name), outputs)


def train(
    kind: str,
    layout: Layout,
    training: Given,
    validation: Given,
    classes: int,
    *,
    balanced: bool,
    seed: int,
    threads: int,
    progress: Callable[[str, float], None],
) -> TrainedTable:
    """Trains a model of this kind, or of each kind.

    Args:
        kind: of KINDS, or AUTO.
        classes: of the Dataset; 0 for numbers. A class without a training row is never the answer.
        balanced: whether all classes count alike, whatever their rows.
        progress: hears which kind is trained, and the share that is done of everything.
    """
    material, scale = _material(layout, training, validation, classes, balanced=balanced, seed=seed, threads=threads)
    kinds = list(KINDS) if kind == AUTO else [kind]
    whole, done, candidates = sum(_SHARES[one] for one in kinds), 0.0, []
    for one in kinds:
        start = done / whole

        def heard(share: float, one: str = one, start: float = start) -> None:
            progress(one, start + share * _SHARES[one] / whole)

        heard(0.0)
        with threadpool_limits(material.threads):  # of the linear algebra, in which nobody else looks for a limit
            candidates.append(_candidate(one, KINDS[one](material, heard), material))
        done += _SHARES[one]
    best = min(candidates, key=lambda candidate: float(candidate.losses.mean()))
    if kind == AUTO:
        mean = _mean(candidates, material)
        candidates.append(mean)
        best = mean if mean.losses.mean() < (1 - MEAN_GAIN) * best.losses.mean() else best
    return TrainedTable(
        kind=best.kind,
        model=best.trained.model,
        about=best.trained.about,
        scale=scale.sharper(best.factor) if classes else scale,
        factor=best.factor,
        candidates=candidates,
        held=len(best.held),
        width=training.numbers.shape[1],
    )


def _candidate(kind: str, trained: Trained, material: Material) -> Candidate:
    rows, scores = [], []
    for part, model in zip(material.parts, trained.parts, strict=True):
        rows.append(part.held)
        scores.append(model.scores(material.numbers[part.held]))
    unseen = np.setdiff1d(material.validation, rows[0])
    if len(unseen):
        rows.append(unseen)
        scores.append(trained.model.scores(material.numbers[unseen]))
    return _judged(kind, trained, np.concatenate(rows), np.concatenate(scores), material)


def _mean(candidates: Sequence[Candidate], material: Material) -> Candidate:
    """The mean of the candidates' scores whose weights, in tenths, are best on the held rows."""
    targets = material.targets[candidates[0].held]

    def mixed(tenths: Sequence[int]) -> Doubles:
        return np.asarray(sum(part / 10 * one.scores for part, one in zip(tenths, candidates, strict=True)))

    every = [tenths for tenths in product(range(11), repeat=len(candidates)) if sum(tenths) == 10]
    best = min(every, key=lambda tenths: float(losses(targets, mixed(tenths)).mean()))
    model = Mean(
        [(one.trained.model, one.factor * part / 10) for one, part in zip(candidates, best, strict=True) if part]
    )
    shares = [
        f"{part} tenths {one.kind} ({one.trained.about})" for part, one in zip(best, candidates, strict=True) if part
    ]
    return _judged(MEAN, Trained(model, [], ", ".join(shares)), candidates[0].held, mixed(best), material)


def _judged(kind: str, trained: Trained, rows: Ids, scores: Doubles, material: Material) -> Candidate:
    targets, factor = material.targets[rows], 1.0
    if material.classes > 1:
        factor = sharpness(scores, targets, cautious=True)
        if losses(targets, scores * factor).mean() > losses(targets, scores).mean():
            factor = 1.0
    return Candidate(kind, trained, factor, rows, scores * factor, losses(targets, scores * factor))


def _material(
    layout: Layout, training: Given, validation: Given, classes: int, *, balanced: bool, seed: int, threads: int
) -> tuple[Material, Scale]:
    count = len(training.targets)
    targets: NDArray[Any]
    if not classes:
        # All models learn numbers near 1.
        mean, spread = float(training.targets.mean()), float(training.targets.std())
        spread = spread if spread > 0 else 1.0
        targets = (np.concatenate([training.targets, validation.targets]) - mean) / spread
        known: Ids = np.zeros(0, np.int64)
        numbers, weights = np.concatenate([training.numbers, validation.numbers]), np.ones(len(targets))
        scale = Scale(np.asarray([[spread]]), np.asarray([mean]))
    else:
        known = np.unique(training.targets)
        usable = np.isin(validation.targets, known)
        numbers = np.concatenate([training.numbers, validation.numbers[usable]])
        targets = np.searchsorted(known, np.concatenate([training.targets, validation.targets[usable]]))
        rows = np.bincount(targets[:count], minlength=len(known))
        weights = (count / (len(known) * rows))[targets] if balanced else np.ones(len(targets))
        bias = np.full(classes, ABSENT)
        bias[known] = 0
        scale = Scale(np.eye(classes)[known], bias)
    material = Material(
        layout=layout,
        numbers=numbers,
        targets=targets,
        weights=weights,
        training=count,
        classes=len(known),
        parts=parts_of(targets, count, len(known), seed),
        seed=seed,
        cores=threads,
    )
    return material, scale
