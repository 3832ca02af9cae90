"""Quality of predicted probabilities against true classes. Pure: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from kaon.api.evaluation import ClassFigures
from kaon.api.metrics import MetricFigure
from kaon.tasks.base import Metric
from kaon.tasks.metrics import ACCURACY, AUC, CLASSIFICATION, ECE, F1, LOG_LOSS, MACRO_F1, PRECISION, RECALL
from kaon_jobs.measure.likelihood import auc, log_loss
from kaon_jobs.measure.resampling import DRAWS, ENDS

ECE_BINS = 15
MAX_CLASSES = 200
"""Bound of the per-class list in a status."""
_CHUNK = 2_000_000
"""Numbers drawn at once."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good predictions are. Precision, recall and F1 are weighted by support, as scikit-learn means it."""

    metrics: dict[str, MetricFigure]
    """Those of the task, by name, with 95 % intervals where there are any."""
    per_class: list[ClassFigures]
    confusion: NDArray[np.int64]
    """Rows: true class; columns: predicted class."""


def quality(
    true_ids: Ids, probabilities: Floats, labels: list[str], metrics: Sequence[Metric] = CLASSIFICATION
) -> Quality:
    """These metrics of classification, and those of each class.

    The first 200 classes are listed per class, the rarest left out first. A metric that these rows do not define is
    left out, as AUC is where all are of one class.
    """
    every = list(range(len(labels)))
    confusion = np.asarray(confusion_matrix(true_ids, probabilities.argmax(axis=1), labels=every), dtype=np.int64)
    figures = _with_intervals(scores(true_ids, probabilities), confusion)
    for metric, measured in ((AUC, auc), (LOG_LOSS, log_loss)):
        if metric in metrics and (found := measured(true_ids, probabilities)) is not None:
            value, low, high = map(_round, found)
            figures[metric.name] = MetricFigure(value=value, low=min(low, value), high=max(high, value))
    return Quality(
        metrics={metric.name: figures[metric.name] for metric in metrics if metric.name in figures},
        per_class=_per_class(confusion, labels),
        confusion=confusion,
    )


def scores(true_ids: Ids, probabilities: Floats) -> dict[str, float]:
    """Each metric of classification by name, rounded to six digits.

    Args:
        probabilities: [rows, classes].
    """
    count = probabilities.shape[1]
    cells = _Cells.of_rows(true_ids, probabilities.argmax(axis=1), count)
    found = {name: float(value[0]) for name, value in cells.scores(cells.rows[None, :]).items()}
    return {name: _round(value) for name, value in found.items()} | {
        ECE.name: _round(expected_calibration_error(true_ids, probabilities))
    }


def expected_calibration_error(true_ids: Ids, probabilities: Floats, bins: int = ECE_BINS) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by rows."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == true_ids
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    distance = 0.0
    for one in range(bins):
        inside = index == one
        if inside.any():
            distance += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(distance)


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The cells of a confusion matrix that hold rows, sorted by true class."""

    classes: int
    truth: Ids
    predicted: Ids
    rows: Doubles

    @classmethod
    def of_rows(cls, truth: Ids, predicted: Ids, classes: int) -> _Cells:
        kinds, counts = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
        return cls(classes, kinds[0], kinds[1], counts.astype(np.float64))

    def scores(self, rows: Doubles) -> dict[str, Doubles]:
        """The metrics, one value for each line of rows a cell [lines, cells].

        A class that has neither rows nor predictions counts as 0 in macro-F1, never as absent.
        """
        hit = self.truth == self.predicted
        support, predicted = self._by(self.truth, rows), self._by(self.predicted, rows)
        hits = self._by(self.truth, rows * hit)
        precision, recall = _share(hits, predicted), _share(hits, support)
        f1 = _share(2 * hits, support + predicted)
        weights = support / support.sum(axis=1, keepdims=True)
        return {
            ACCURACY.name: hits.sum(axis=1) / support.sum(axis=1),
            MACRO_F1.name: f1.mean(axis=1),
            PRECISION.name: (weights * precision).sum(axis=1),
            RECALL.name: (weights * recall).sum(axis=1),
            F1.name: (weights * f1).sum(axis=1),
        }

    def _by(self, classes: Ids, rows: Doubles) -> Doubles:
        found = np.zeros((len(rows), self.classes))
        order = np.argsort(classes, kind="stable")
        there, starts = np.unique(classes[order], return_index=True)
        found[:, there] = np.add.reduceat(rows[:, order], starts, axis=1)
        return found


def _with_intervals(found: dict[str, float], confusion: NDArray[np.int64]) -> dict[str, MetricFigure]:
    """95 % intervals by a Bayesian bootstrap (Rubin 1981) of the rows of each class.

    Half a row more that is right and half a row more that is wrong, in each class, keep a perfect score on few rows
    from looking certain (the prior of Jeffreys).
    """
    classes = len(confusion)
    if classes < 2:
        return {name: MetricFigure(value=value) for name, value in found.items()}
    support = confusion.sum(axis=1)
    there = np.flatnonzero(support)
    largest = np.argsort(-support, kind="stable")[:2]
    other = np.where(there == largest[0], largest[1], largest[0])
    prior = np.zeros(confusion.shape)
    prior[there, there] += 0.5
    prior[there, other] += 0.5
    truth, predicted = np.nonzero(confusion + prior)
    cells = _Cells(classes, truth, predicted, (confusion + prior)[truth, predicted])
    random = np.random.default_rng(0)
    drawn: dict[str, list[Doubles]] = {}
    size = max(1, _CHUNK // len(truth))
    for start in range(0, DRAWS, size):
        lines = random.standard_gamma(cells.rows, (min(size, DRAWS - start), len(truth)))
        lines *= (support / np.maximum(cells._by(truth, lines), 1e-300))[:, truth]
        for name, values in cells.scores(lines).items():
            drawn.setdefault(name, []).append(values)
    figures = {}
    for name, value in found.items():
        if name not in drawn:
            figures[name] = MetricFigure(value=value)
            continue
        low, high = np.quantile(np.concatenate(drawn[name]), ENDS)
        figures[name] = MetricFigure(value=value, low=_round(min(low, value)), high=_round(max(high, value)))
    return figures


def _per_class(confusion: NDArray[np.int64], labels: list[str]) -> list[ClassFigures]:
    hits, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _share(hits, predicted), _share(hits, support)
    f1 = _share(2 * hits, support + predicted)
    every = list(range(len(labels)))
    if len(every) > MAX_CLASSES:
        every = sorted(sorted(every, key=lambda index: -support[index])[:MAX_CLASSES])
    return [
        ClassFigures(
            label=labels[index][:256],
            precision=_round(precision[index]),
            recall=_round(recall[index]),
            f1=_round(f1[index]),
            support=int(support[index]),
        )
        for index in every
    ]


def _share(part: NDArray[np.generic], whole: NDArray[np.generic]) -> Doubles:
    """`part` of `whole`; 0 where there is no whole."""
    return np.where(whole > 0, part / np.maximum(whole, 1e-300), 0.0)  # type: ignore[operator]


def _round(value: float) -> float:
    # Six digits are more than any test split resolves, and keep a status readable.
    return round(float(value), 6)
