"""What a model of a table learns from, and on which rows it is held against others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kaon_jobs.learn.tables.columns import Layout
from kaon_jobs.learn.tables.graph import Graph

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]
Progress = Callable[[float], None]
"""Hears the share that is done, 0 to 1."""

FOLDED_ROWS = 5000
"""Up to so many training rows each is learnt from by some parts of a model and held out from another."""
FOLDS = 5
LEAST_FOLDED = 10
"""Fewer rows are all learnt from, and held against themselves."""
LEAST_HELD = 200
"""Rows of a validation split that alone tell when to stop; of fewer, a tenth of the training rows is held out."""
_HELD_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows that one part of a model learns from, and rows that tell when it has learnt enough."""

    learnt: Ids
    held: Ids


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Training rows, then those of the validation split whose class a training row has."""

    layout: Layout
    numbers: Floats
    """[rows, width], finite or NaN."""
    targets: NDArray[Any]
    """Ids of the classes that training rows have, int64; or numbers with mean 0 and deviation 1, float64."""
    weights: Doubles
    """[rows], mean 1 over the training rows."""
    training: int
    """The first rows, which are those of the training split."""
    classes: int
    """That training rows have; 0 where the targets are numbers."""
    parts: Sequence[Part]
    seed: int
    cores: int

    @property
    def threads(self) -> int:
        """Threads worth starting: of few rows the threads would wait for each other longer than they work."""
        return self.cores if self.training > FOLDED_ROWS else 1

    @property
    def outputs(self) -> int:
        """Scores of a row."""
        return max(1, self.classes)

    @property
    def validation(self) -> Ids:
        """Rows of the validation split."""
        return np.arange(self.training, len(self.numbers))


class TableModel(Protocol):
    """A trained model of a table."""

    def scores(self, rows: Floats) -> Doubles:
        """Scores [rows, classes]; or the number as it is in Material [rows, 1]."""

    def add_to(self, graph: Graph, rows: str) -> str:
        """Adds nodes that give the same scores; returns the name of their output."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model, and for each part of the material one that has not learnt from its held rows."""

    model: TableModel
    parts: Sequence[TableModel]
    about: str
    """How it was trained, for the report."""


def parts_of(targets: NDArray[Any], training: int, classes: int, seed: int) -> list[Part]:
    """Parts for targets of training rows, then of validation rows. Seeded.

    Few rows are dealt into five folds, each class evenly, and a model becomes the mean of five (Breiman 1996); many are
    one part, which the validation split is held against. A class with fewer rows than folds is always learnt from.
    """
    random = np.random.default_rng(seed)
    rows = np.arange(training)
    if training > FOLDED_ROWS:
        validation = np.arange(training, len(targets))
        if len(validation) >= LEAST_HELD:
            return [Part(rows, validation)]
        held = _dealt(targets[:training], round(1 / _HELD_SHARE), classes, random) == 0
        return [Part(rows[~held], rows[held])]
    dealt = _dealt(targets[:training], FOLDS, classes, random)
    found = [Part(rows[dealt != fold], rows[dealt == fold]) for fold in range(FOLDS)]
    if training < LEAST_FOLDED or not all(len(part.held) for part in found):
        return [Part(rows, rows)]
    return found


def _dealt(targets: NDArray[Any], folds: int, classes: int, random: np.random.Generator) -> Ids:
    """The fold of each row; -1 for rows of classes that have fewer rows than folds."""
    order = random.permutation(len(targets))
    # Numbers are dealt in their order, so that each fold has small and large ones.
    order = order[np.argsort(targets[order], kind="stable")]
    found = np.empty(len(targets), np.int64)
    if classes:
        found[order] = np.arange(len(targets)) % folds
        counts = np.bincount(targets, minlength=classes)
        found[counts[targets] < folds] = -1
        return found
    for start in range(0, len(order), folds):
        some = order[start : start + folds]
        found[some] = random.permutation(folds)[: len(some)]
    return found
