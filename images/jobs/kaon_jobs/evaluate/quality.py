"""Quality figures of predicted probabilities against true classes. Pure: arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from kaon.api.evaluation import ClassFigures

ECE_BINS = 15
MAX_CLASSES = 200
"""Bound of the per-class list in a status."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good predictions are. Precision, recall and F1 are weighted by support, as scikit-learn means it."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    macro_f1: float
    ece: float
    per_class: list[ClassFigures]
    confusion: NDArray[np.int64]
    """Rows: true class; columns: predicted class."""


def quality(true_ids: Ids, probabilities: Floats, labels: list[str]) -> Quality:
    """All quality figures. A class without rows and without predictions counts as 0 in macro-F1, never as absent.

    The first 200 classes are listed per class, the rarest left out first.
    """
    predicted = probabilities.argmax(axis=1)
    every = list(range(len(labels)))
    precision, recall, f1, support = precision_recall_fscore_support(
        true_ids, predicted, labels=every, average=None, zero_division=0
    )
    weighted = precision_recall_fscore_support(true_ids, predicted, labels=every, average="weighted", zero_division=0)
    figures = [
        ClassFigures(
            label=labels[index][:256],
            precision=_round(precision[index]),
            recall=_round(recall[index]),
            f1=_round(f1[index]),
            support=int(support[index]),
        )
        for index in every
    ]
    if len(figures) > MAX_CLASSES:
        kept = set(sorted(every, key=lambda index: -figures[index].support)[:MAX_CLASSES])
        figures = [figure for index, figure in enumerate(figures) if index in kept]
    return Quality(
        accuracy=_round(accuracy_score(true_ids, predicted)),
        precision=_round(weighted[0]),
        recall=_round(weighted[1]),
        f1=_round(weighted[2]),
        macro_f1=_round(np.mean(f1)),
        ece=_round(expected_calibration_error(true_ids, probabilities)),
        per_class=figures,
        confusion=np.asarray(confusion_matrix(true_ids, predicted, labels=every), dtype=np.int64),
    )


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


def _round(value: float) -> float:
    # Six digits are more than any test split resolves, and keep a status readable.
    return round(float(value), 6)
