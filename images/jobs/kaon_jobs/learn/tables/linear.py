"""Ridge regression (Hoerl and Kennard 1970) and multinomial logistic regression, their strength chosen on held rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from kaon_jobs.learn.tables.graph import Graph
from kaon_jobs.learn.tables.material import Doubles, Floats, Ids, Material, Part, Progress, Trained
from kaon_jobs.learn.tables.preparation import Preparation

MOST_NUMBERS = 50_000_000
"""That it learns from at once, 200 MB: of wider or longer tables as many rows are drawn."""
PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
"""Of squared weights, beside the sum of the rows' losses; the strongest first."""
MOST_STEPS = 300
"""Of the solver of logistic regression (L-BFGS)."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Scores are weighted sums of prepared numbers."""

    preparation: Preparation
    weights: Doubles
    """[prepared numbers, outputs]"""
    bias: Doubles
    """[outputs]"""

    def scores(self, rows: Floats) -> Doubles:
        """See TableModel."""
        return np.asarray(self.preparation.apply(rows) @ self.weights + self.bias)

    def add_to(self, graph: Graph, rows: str) -> str:
        """See TableModel."""
        return graph.add("Gemm", self.preparation.add_to(graph, rows), self.weights, self.bias)


def fit_linear(material: Material, progress: Progress) -> Trained:
    """Trains with each strength on the parts, and with the best one on all training rows."""
    preparation = Preparation.of(material.numbers[: material.training], material.layout, "standard")
    if material.classes == 1:
        nothing = Linear(preparation, np.zeros((preparation.width, 1)), np.zeros(1))
        return Trained(nothing, [nothing] * len(material.parts), "one class: nothing to learn")
    random = np.random.default_rng(material.seed)
    tried: list[list[Linear]] = []
    for number, part in enumerate(material.parts):
        tried.append(_path(material, preparation, _drawn(part.learnt, preparation.width, random), PENALTIES))
        progress(0.8 * (number + 1) / len(material.parts))
    losses = [
        sum(_loss(material, part, models[index]) for part, models in zip(material.parts, tried, strict=True))
        for index in range(len(PENALTIES))
    ]
    best = int(np.argmin(losses))
    rows = _drawn(np.arange(material.training), preparation.width, random)
    (model,) = _path(material, preparation, rows, PENALTIES[best : best + 1])
    progress(1.0)
    return Trained(model, [models[best] for models in tried], f"penalty {PENALTIES[best]:g}")


def _drawn(rows: Ids, width: int, random: np.random.Generator) -> Ids:
    most = max(1000, MOST_NUMBERS // width)
    return rows if len(rows) <= most else np.sort(random.permutation(rows)[:most])


def _path(material: Material, preparation: Preparation, rows: Ids, penalties: Sequence[float]) -> list[Linear]:
    given = preparation.apply(material.numbers[rows])
    targets, weights = material.targets[rows], material.weights[rows]
    if not material.classes:
        return _ridge(preparation, given.astype(np.float64), targets, weights, penalties)
    found = []
    solver = LogisticRegression(max_iter=MOST_STEPS, warm_start=True)
    for penalty in penalties:
        solver.set_params(C=1 / penalty)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # held rows judge what it has reached
            solver.fit(given, targets, sample_weight=weights)
        slopes, bias = solver.coef_.T, solver.intercept_
        if material.classes == 2:  # one score, of the second
            slopes, bias = np.hstack([-slopes / 2, slopes / 2]), np.concatenate([-bias / 2, bias / 2])
        found.append(Linear(preparation, np.asarray(slopes, np.float64), np.asarray(bias, np.float64)))
    return found


def _ridge(
    preparation: Preparation, given: Doubles, targets: Doubles, weights: Doubles, penalties: Sequence[float]
) -> list[Linear]:
    total = weights.sum()
    middle, mean = weights @ given / total, float(weights @ targets / total)
    centred = given - middle
    values, vectors = np.linalg.eigh((centred * weights[:, None]).T @ centred)
    turned = vectors.T @ (centred.T @ (weights * (targets - mean)))
    found = []
    for penalty in penalties:
        slopes = vectors @ (turned / (np.maximum(values, 0) + penalty))
        found.append(Linear(preparation, slopes[:, None], np.asarray([mean - middle @ slopes])))
    return found


def _loss(material: Material, part: Part, model: Linear) -> float:
    return float(losses(material.targets[part.held], model.scores(material.numbers[part.held])).sum())


def losses(targets: Doubles | Ids, scores: Doubles) -> Doubles:
    """Of each row: log loss of scores [rows, classes], or the squared error of numbers [rows, 1]."""
    if scores.shape[1] == 1 and targets.dtype.kind == "f":
        return np.asarray((scores[:, 0] - targets) ** 2)
    top = scores.max(axis=1)
    whole = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top
    return np.asarray(whole - scores[np.arange(len(scores)), targets])
