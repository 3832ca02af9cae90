"""What a model that ranks items learns from, and on what it is held against others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy import sparse

from kaon.tasks.metrics import NDCG_AT_10
from kaon_jobs.measure.ranking import PLACES, by_user
from kaon_jobs.runtime.history import best

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Progress = Callable[[float], None]
"""Hears the share that is done, 0 to 1."""

LEAST_QUESTIONS = 20
"""Of a validation split; with fewer, the last item of training users is held out to choose by."""
MOST_QUESTIONS = 2000
"""Users that models are chosen by; of more, so many are drawn."""
_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """Users to choose a model by: what they had taken, and what they took next."""

    histories: Sequence[Ids]
    targets: Sequence[Ids]

    def __len__(self) -> int:
        return len(self.histories)

    def some(self, most: int, seed: int) -> Questions:
        """At most so many of them. Seeded."""
        if len(self) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:most])
        return Questions([self.histories[row] for row in chosen], [self.targets[row] for row in chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Training histories and the questions that tell which model is better."""

    items: int
    histories: Sequence[Ids]
    """Of each training user the items, the newest last."""
    counts: Ids
    """[items], how often each is taken; descending."""
    texts: Sequence[str | None]
    """Of each item; empty where there are none."""
    questions: Questions
    length: int
    """Items of a history that are read, the newest."""
    seed: int
    threads: int

    @property
    def popularity(self) -> Floats:
        """[items], the share of all interactions."""
        return np.asarray(self.counts / max(1, self.counts.sum()), np.float32)

    def matrix(self) -> sparse.csr_matrix:
        """[users, items], 1 where the user took the item."""
        return as_matrix(self.histories, self.items)

    def ndcg(self, model: Ranker) -> float:
        """Mean nDCG@10 of the questions."""
        return ndcg(self.questions, model)


class Ranker(Protocol):
    """A trained model."""

    def scores(self, histories: Sequence[Ids]) -> Floats:
        """[histories, items]; of a history without items the popularity."""

    def graph(self) -> onnx.ModelProto:
        """The same as ONNX: int64 [batch, length], the newest item last and filled up in front with the number behind
        all items; float32 [batch, items]."""


def questions_of(train: Sequence[Ids], validation: Questions, seed: int) -> tuple[Sequence[Ids], Questions]:
    """Histories to learn from, and questions to choose by: of the validation split where it has enough.

    Else the last item of training users is held out.
    """
    if len(validation) >= LEAST_QUESTIONS:
        return train, validation.some(MOST_QUESTIONS, seed)
    long = [row for row, history in enumerate(train) if len(history) > 1]
    chosen = set(np.random.default_rng(seed).permutation(long)[: min(MOST_QUESTIONS, max(1, len(long) // 2))].tolist())
    if not chosen:
        return train, Questions(train, train)
    held = Questions([train[row][:-1] for row in chosen], [train[row][-1:] for row in chosen])
    return [history[:-1] if row in chosen else history for row, history in enumerate(train)], held


def as_matrix(histories: Sequence[Ids], items: int) -> sparse.csr_matrix:
    """[histories, items], 1 where the item is in the history."""
    ends = np.cumsum([0, *(len(history) for history in histories)])
    numbers = np.concatenate([*histories, np.zeros(0, np.int64)])
    made = sparse.csr_matrix((np.ones(len(numbers), np.float32), numbers, ends), shape=(len(histories), items))
    made.sum_duplicates()
    made.data[:] = 1
    return made


def ranked(histories: Sequence[Ids], model: Ranker, places: int = PLACES) -> Ids:
    """The best items that are not in a history [histories, places]; -1 for none."""
    found = []
    for start in range(0, len(histories), _BLOCK):
        part = histories[start : start + _BLOCK]
        found.append(best(part, model.scores(part), places)[:, :places].astype(np.int64))
    return np.concatenate(found)


def ndcg(questions: Questions, model: Ranker) -> float:
    """Mean nDCG@10."""
    values = by_user(questions.targets, ranked(questions.histories, model))[NDCG_AT_10.name]
    return float(values.mean())
