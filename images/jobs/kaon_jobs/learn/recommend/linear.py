"""Models that add up, for each item of a history, what it says of the others: EASE, item-kNN; and popularity alone.

EASE: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019), in closed form. Item-kNN: the cosine of
the users of two items, with shrinkage for rare ones (Koren, "Factor in the Neighbors", TKDD 2010); both are strong
beside neural models (Ferrari Dacrema et al., "A Troubling Analysis of Reproducibility and Progress", TOIS 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto
from scipy import linalg, sparse

from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.recommend.graph import HISTORY, RankingGraph
from kaon_jobs.learn.recommend.material import Floats, Ids, Material, Progress, Ranker, as_matrix, ndcg

MOST_EASE_ITEMS = 8_000
"""Its matrix has a number for each pair of items: of so many 256 MB, and takes minutes and 2 GB to compute."""
EASE_STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0)
NEIGHBOURS = (20, 50, 100, 200, 500)
SHRINKAGES = (0.0, 10.0, 100.0)
_BLOCK_NUMBERS = 20_000_000
"""Similarities that are held at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model and how it came about."""

    model: Ranker
    about: str


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """The same for all: how often each item is taken."""

    popularity: Floats
    """[items]"""

    def scores(self, histories: Sequence[Ids]) -> Floats:
        """See Ranker."""
        return np.tile(self.popularity, (len(histories), 1))

    def graph(self) -> onnx.ModelProto:
        """See Ranker."""
        return RankingGraph(self.popularity).with_popular(None)


@dataclass(frozen=True, slots=True, eq=False)
class ItemMatrix:
    """Each item of a history adds its row of a matrix."""

    weights: Floats
    """[items, items]"""
    popularity: Floats
    length: int

    def scores(self, histories: Sequence[Ids]) -> Floats:
        """See Ranker."""
        taken = as_matrix([history[-self.length :] for history in histories], len(self.weights))
        return _or_popular(np.asarray(taken @ self.weights, np.float32), histories, self.popularity)

    def graph(self) -> onnx.ModelProto:
        """See Ranker."""
        graph = RankingGraph(self.popularity)
        return graph.with_popular(graph.add("MatMul", graph.taken(), self.weights))


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Each item of a history adds the similarities of its nearest neighbours."""

    near: Ids
    """[items, neighbours], the most similar first."""
    similarities: Floats
    """[items, neighbours], 0 where an item has fewer."""
    popularity: Floats
    length: int

    def scores(self, histories: Sequence[Ids]) -> Floats:
        """See Ranker."""
        items, count = self.near.shape
        starts = np.arange(0, items * count + 1, count)
        matrix = sparse.csr_matrix((self.similarities.ravel(), self.near.ravel(), starts), shape=(items, items))
        taken = as_matrix([history[-self.length :] for history in histories], items)
        return _or_popular(np.asarray((taken @ matrix).todense(), np.float32), histories, self.popularity)

    def graph(self) -> onnx.ModelProto:
        """See Ranker. The pad is an item whose neighbours add 0."""
        graph = RankingGraph(self.popularity)
        number = np.uint16 if graph.items < 2**16 else np.int32
        near = np.vstack([self.near, np.zeros((1, self.near.shape[1]))]).astype(number)
        similarities = np.vstack([self.similarities, np.zeros((1, self.near.shape[1]))]).astype(np.float32)
        flat = graph.ints(0, -1)
        looked_up = graph.add("Cast", graph.add("Gather", near, HISTORY, axis=0), to=TensorProto.INT64)
        places = graph.add("Reshape", looked_up, flat)
        values = graph.add("Reshape", graph.add("Gather", similarities, HISTORY, axis=0), flat)
        scores = graph.add("ScatterElements", graph.zeros(graph.items), places, values, axis=1, reduction="add")
        return graph.with_popular(scores)


def fit_popularity(material: Material, progress: Progress) -> Trained:
    """Counts."""
    return Trained(Popularity(material.popularity), "the most frequent items of the training split")


def fit_ease(material: Material, progress: Progress) -> Trained:
    """The strength of its ridge is chosen on the questions.

    Raises:
        StageFailure: ModelTooLarge.
    """
    if material.items > MOST_EASE_ITEMS:
        raise StageFailure(
            "ModelTooLarge",
            f"builtin:ease has a weight for each pair of items, and {material.items:,} items are above its limit of "
            f"{MOST_EASE_ITEMS:,}. Set spec.model.base to builtin:item-knn or builtin:two-tower, or raise "
            "spec.clean.minPerItem of the Dataset.",
        )
    taken = material.matrix()
    products = np.asarray((taken.T @ taken).todense(), np.float64)
    diagonal = np.diag_indices(material.items)
    found: list[tuple[float, float, ItemMatrix]] = []
    for number, strength in enumerate(EASE_STRENGTHS):
        progress(number / len(EASE_STRENGTHS))
        ridged = products.copy()
        ridged[diagonal] += strength
        inverse = linalg.inv(ridged, overwrite_a=True, check_finite=False)
        weights = np.asarray(inverse / -np.diag(inverse), np.float32)
        weights[diagonal] = 0
        model = ItemMatrix(weights, material.popularity, material.length)
        found.append((ndcg(material.questions, model), strength, model))
        if found[-1][0] < max(score for score, *_ in found) and len(found) > 1:
            break
    _, strength, model = max(found, key=lambda one: one[0])
    return Trained(model, f"EASE with a ridge of {strength:g}")


def fit_neighbours(material: Material, progress: Progress) -> Trained:
    """Neighbours and shrinkage are chosen on the questions."""
    taken = material.matrix().tocsc()
    norms = np.sqrt(np.maximum(1.0, np.asarray(taken.sum(axis=0)).ravel()))
    most = min(max(NEIGHBOURS), max(1, material.items - 1))
    found: list[tuple[float, str, Neighbours]] = []
    for number, shrinkage in enumerate(SHRINKAGES):
        near, similar = _nearest(taken, norms, shrinkage, most, _part(progress, number))
        for count in sorted({min(count, most) for count in NEIGHBOURS}):
            model = Neighbours(near[:, :count], similar[:, :count], material.popularity, material.length)
            about = f"{count} neighbours of each item, cosine with shrinkage {shrinkage:g}"
            found.append((ndcg(material.questions, model), about, model))
    _, about, model = max(found, key=lambda one: one[0])
    return Trained(model, about)


def _part(progress: Progress, number: int) -> Progress:
    return lambda share: progress((number + share) / len(SHRINKAGES))


def _nearest(
    taken: sparse.csc_matrix, norms: Floats, shrinkage: float, most: int, progress: Progress
) -> tuple[Ids, Floats]:
    """The most similar items of each [items, most], and how similar they are."""
    items = taken.shape[1]
    near, similar = np.zeros((items, most), np.int64), np.zeros((items, most), np.float32)
    block = max(1, _BLOCK_NUMBERS // items)
    for start in range(0, items, block):
        progress(start / items)
        stop = min(items, start + block)
        found = np.asarray((taken[:, start:stop].T @ taken).todense(), np.float64)
        found /= norms[start:stop, None] * norms[None] + shrinkage
        found[np.arange(stop - start), np.arange(start, stop)] = 0
        # By number first, so that of equal ones the more frequent item is the nearer.
        best = np.sort(np.argpartition(-found, min(most, items - 1), axis=1)[:, :most], axis=1)
        values = np.take_along_axis(found, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        near[start:stop] = np.take_along_axis(best, order, axis=1)
        similar[start:stop] = np.take_along_axis(values, order, axis=1)
    return near, similar


def _or_popular(scores: Floats, histories: Sequence[Ids], popularity: Floats) -> Floats:
    empty = [row for row, history in enumerate(histories) if not len(history)]
    scores[empty] = popularity
    return scores
