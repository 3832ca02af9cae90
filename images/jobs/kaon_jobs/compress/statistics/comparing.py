"""How answers of two models are compared: by classes, numbers or ranked items, as the model predicts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kaon.tasks.metrics import ACCURACY, MACRO_F1, MAE, RANKING, RMSE
from kaon_jobs.compress.statistics.classes import compare_classes
from kaon_jobs.compress.statistics.numbers import compare_numbers
from kaon_jobs.compress.statistics.quality import CONFIDENCE, Quality
from kaon_jobs.compress.statistics.rankings import compare_rankings
from kaon_jobs.measure.ranking import by_user

Floats = NDArray[np.float32]
_FLOOR = 1e-7


class Comparing(Protocol):
    """What has to be known of answers: probabilities [rows, classes], predictions [rows, 1], items [rows, 2 ranks]."""

    answer: str
    """One figure of an answer, in words."""

    def said(self, answers: Floats) -> NDArray[Any]:
        """What is compared of each row [rows]: the id of a class, or a number; of items their numbers [rows, ranks]."""
        ...

    def compare(
        self,
        truth: NDArray[Any],
        baseline: NDArray[Any],
        candidate: NDArray[Any],
        seed: int,
        confidence: float = CONFIDENCE,
    ) -> Quality:
        """What the candidate loses; both models by what they `said` [rows], at least one row."""
        ...

    def divergence(self, reference: Floats, moved: Floats) -> float:
        """How far answers moved, 0 for not at all: it ranks candidates where few rows tell them apart."""
        ...

    def slack(self, truth: NDArray[Any], answers: Floats, rows: int) -> dict[str, float]:
        """Metric -> by how much it may differ when as many rows are answered otherwise; every compared metric."""
        ...


class _Classes:
    answer = "a probability"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = list(labels)

    def said(self, answers: Floats) -> NDArray[Any]:
        return np.asarray(answers.argmax(axis=1), dtype=np.int64)

    def compare(
        self,
        truth: NDArray[Any],
        baseline: NDArray[Any],
        candidate: NDArray[Any],
        seed: int,
        confidence: float = CONFIDENCE,
    ) -> Quality:
        return compare_classes(truth, baseline, candidate.astype(np.int64), self._labels, seed, confidence)

    def divergence(self, reference: Floats, moved: Floats) -> float:
        """Mean Kullback-Leibler divergence of the rows of `moved` from those of `reference`, in nats."""
        p, q = np.clip(reference, _FLOOR, 1.0), np.clip(moved, _FLOOR, 1.0)
        return float(np.mean(np.sum(p * np.log(p / q), axis=1)))

    def slack(self, truth: NDArray[Any], answers: Floats, rows: int) -> dict[str, float]:
        # One row of the smallest class moves its F1 by up to about 2 / rows, and macro-F1 by that over the classes.
        smallest = min((int(count) for count in np.bincount(truth) if count), default=1)
        return {ACCURACY.name: rows / len(truth), MACRO_F1.name: rows * 2 / smallest / len(self._labels)}


class _Numbers:
    answer = "a prediction"

    def said(self, answers: Floats) -> NDArray[Any]:
        return np.asarray(answers[:, 0], dtype=np.float64)

    def compare(
        self,
        truth: NDArray[Any],
        baseline: NDArray[Any],
        candidate: NDArray[Any],
        seed: int,
        confidence: float = CONFIDENCE,
    ) -> Quality:
        return compare_numbers(truth, baseline, candidate, seed, confidence)

    def divergence(self, reference: Floats, moved: Floats) -> float:
        """Mean squared distance of the predictions over the variance of the reference's."""
        one, other = np.asarray(reference, np.float64), np.asarray(moved, np.float64)
        distance = float(np.mean((one - other) ** 2))
        return distance / float(one.var()) if one.var() > 0 else distance

    def slack(self, truth: NDArray[Any], answers: Floats, rows: int) -> dict[str, float]:
        # A row that was right may be as wrong as the worst, and the other way round.
        errors = np.abs(self.said(answers) - truth)
        squares, share = float(np.mean(errors**2)), min(1.0, rows / len(truth))
        most = float(errors.max())
        return {
            RMSE.name: float(np.sqrt(squares + share * most**2) - np.sqrt(squares)),
            MAE.name: share * most,
        }


class _Rankings:
    answer = "a score"

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks

    def said(self, answers: Floats) -> NDArray[Any]:
        return np.asarray(answers[:, : self._ranks], dtype=np.int64)

    def compare(
        self,
        truth: NDArray[Any],
        baseline: NDArray[Any],
        candidate: NDArray[Any],
        seed: int,
        confidence: float = CONFIDENCE,
    ) -> Quality:
        return compare_rankings(by_user(list(truth), baseline), by_user(list(truth), candidate), seed, confidence)

    def divergence(self, reference: Floats, moved: Floats) -> float:
        """The mean share of the items that are no longer ranked."""
        one, other = self.said(reference), self.said(moved)
        kept = [len(np.intersect1d(*pair)) / len(np.unique(pair[0])) for pair in zip(one, other, strict=True)]
        return 1 - float(np.mean(kept))

    def slack(self, truth: NDArray[Any], answers: Floats, rows: int) -> dict[str, float]:
        # A user who had all may have nothing, and the other way round.
        return {metric.name: min(1.0, rows / len(truth)) for metric in RANKING}


def comparing_of(labels: Sequence[str], ranks: int | None = None) -> Comparing:
    """By classes when a model has some, by items when it ranks some, else by numbers."""
    if ranks is not None:
        return _Rankings(ranks)
    return _Classes(labels) if labels else _Numbers()
