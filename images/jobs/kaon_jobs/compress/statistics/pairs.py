"""What two models said of the same rows, counted, and the drops that follow from the counts. Pure.

Rows that share their truth and both answers are alike, so a split is a short table of kinds of rows with how many there
are of each. All that is said of quality (drops, limits, chances) is a function of that table. The counts are weights:
they may be fractions, and there may be many sets of them at once, one a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaon.tasks.metrics import ACCURACY, MACRO_F1

Classes = NDArray[np.int64]
Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The kinds of rows of a split: classes as indices into `labels`, and how many rows are of each kind."""

    labels: tuple[str, ...]
    truth: Classes
    baseline: Classes
    candidate: Classes
    weights: Weights

    @property
    def rows(self) -> float:
        """Rows in all."""
        return float(self.weights.sum())

    @property
    def support(self) -> Weights:
        """Rows of each class."""
        return self.of_classes(self.weights)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Kinds that only the baseline gets right."""
        return np.asarray((self.baseline == self.truth) & (self.candidate != self.truth), dtype=np.bool_)

    @property
    def won(self) -> NDArray[np.bool_]:
        """Kinds that only the candidate gets right."""
        return np.asarray((self.baseline != self.truth) & (self.candidate == self.truth), dtype=np.bool_)

    def of_classes(self, weights: Weights) -> Weights:
        """Weights of kinds, added up by true class (the last axis)."""
        return weights @ _one_hot(self.truth, len(self.labels))

    def with_kinds(self, truth: Classes, baseline: Classes, candidate: Classes) -> Pairs:
        """The same table with more kinds behind its own, of no row each."""
        return Pairs(
            self.labels,
            np.concatenate([self.truth, truth]),
            np.concatenate([self.baseline, baseline]),
            np.concatenate([self.candidate, candidate]),
            np.concatenate([self.weights, np.zeros(len(truth))]),
        )

    def drop(self, metric: str, weights: Weights) -> Weights:
        """How much of a metric the candidate loses, one for each line of weights [lines, kinds].

        Raises:
            KeyError: a metric that is not compared.
        """
        return {ACCURACY.name: self.accuracy_drop, MACRO_F1.name: self.macro_f1_drop}[metric](weights)

    def macro_f1_drop(self, weights: Weights) -> Weights:
        """Macro-F1 of the baseline less that of the candidate, one for each line of weights [lines, kinds].

        A class that has neither rows nor answers counts as 0, as in the evaluation.
        """
        count = len(self.labels)
        support = self.of_classes(weights)
        f1 = []
        for answers in (self.baseline, self.candidate):
            hits = weights @ (_one_hot(self.truth, count) * (answers == self.truth)[:, None])
            both = support + weights @ _one_hot(answers, count)
            f1.append(np.where(both > 0, 2 * hits / np.maximum(both, 1e-12), 0.0).mean(axis=-1))
        return np.asarray(f1[0] - f1[1], dtype=np.float64)

    def accuracy_drop(self, weights: Weights) -> Weights:
        """Accuracy of the baseline less that of the candidate, one for each line of weights."""
        sign = self.lost.astype(np.float64) - self.won
        return np.asarray((weights @ sign) / weights.sum(axis=-1), dtype=np.float64)


def pairs_of(truth: Classes, baseline: Classes, candidate: Classes, labels: Sequence[str]) -> Pairs:
    """Counts the rows of a split. All inputs are arrays of class indices, row by row."""
    kinds, counts = np.unique(np.stack([truth, baseline, candidate]), axis=1, return_counts=True)
    return Pairs(tuple(labels), kinds[0], kinds[1], kinds[2], counts.astype(np.float64))


def elsewhere(pairs: Pairs) -> Classes:
    """For each class the one that a row of it is most easily taken for when nothing is known: the largest other."""
    support = pairs.support
    order = np.argsort(-support, kind="stable")
    largest, second = int(order[0]), int(order[min(1, len(order) - 1)])
    return np.asarray([second if label == largest else largest for label in range(len(support))], dtype=np.int64)


def _one_hot(classes: Classes, count: int) -> Weights:
    return np.eye(count)[classes]
