"""Gradient boosting of decision trees by LightGBM (Ke et al. 2017), and its trees as an ONNX operator.

A missing number goes the way that training found best for it. Where no training row misses a column, the median takes
its place; LightGBM by itself would take 0. A category that is missing or unknown is none of the categories of a split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Its library finds the OpenMP runtime that torch brings; a slim image has no other, and two would share no threads.
import torch  # noqa: F401

# isort: split
import lightgbm

from kaon_jobs.learn.tables.graph import Graph
from kaon_jobs.learn.tables.linear import fit_linear
from kaon_jobs.learn.tables.material import Doubles, Floats, Material, Progress, Trained
from kaon_jobs.learn.tables.preparation import LARGEST

MOST_ROUNDS = 3000
PATIENCE = 50
"""Rounds without improvement on the held rows."""
MANY_ROWS = 20_000
"""With more rows a larger step is as good."""


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """The mean of some boosters, each with trees up to `rounds`."""

    boosters: Sequence[lightgbm.Booster]
    rounds: int
    fill: Floats
    """By place: what a missing number counts as where no row was without it; NaN elsewhere."""
    classes: int

    def scores(self, rows: Floats) -> Doubles:
        """See TableModel."""
        filled = np.where(np.isnan(rows), self.fill, np.clip(rows, -LARGEST, LARGEST))
        found = [booster.predict(filled, num_iteration=self.rounds, raw_score=True) for booster in self.boosters]
        mean = np.mean(found, axis=0).reshape(len(rows), -1)
        return np.hstack([np.zeros_like(mean), mean]) if self.classes == 2 else np.asarray(mean)

    def add_to(self, graph: Graph, rows: str) -> str:
        """See TableModel."""
        exported = _Exported(self.fill)
        told = [booster.dump_model(num_iteration=self.rounds) for booster in self.boosters]
        each = int(told[0]["num_tree_per_iteration"])
        # Round by round: the first trees of the operator are the first ones of every booster, so that a compression can
        # leave out the last ones.
        for number, trees in enumerate(zip(*(one["tree_info"] for one in told), strict=True)):
            target = 1 if self.classes == 2 else number % each
            for tree in trees:
                exported.add(tree["tree_structure"], target, 1 / len(told))
        return exported.add_to(graph, rows, max(1, self.classes))


def fit_boosting(material: Material, progress: Progress) -> Trained:
    """Trains a booster for each part; all have as many rounds as are best on the held rows of all parts together."""
    if material.classes == 1:
        return fit_linear(material, progress)
    numbers = material.numbers
    fill = np.full(numbers.shape[1], np.nan, np.float32)
    plain = [place for place in material.layout.numbers if not np.isnan(numbers[:, place]).any()]
    fill[plain] = np.median(numbers[: material.training, plain], axis=0)
    categories = [place for place, _ in material.layout.categories]
    parameters = _parameters(material)
    data = lightgbm.Dataset(
        numbers,
        material.targets,
        weight=material.weights,
        categorical_feature=categories,
        params=parameters,
        free_raw_data=False,
    )

    def heard(environment: Any) -> None:
        progress(environment.iteration / MOST_ROUNDS)

    found = lightgbm.cv(
        parameters,
        data,
        num_boost_round=MOST_ROUNDS,
        folds=[(part.learnt, part.held) for part in material.parts],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False), heard],
        return_cvbooster=True,
    )
    together: Any = found["cvbooster"]
    rounds = max(1, int(together.best_iteration))
    models = [Trees([booster], rounds, fill, material.classes) for booster in together.boosters]
    model = Trees(list(together.boosters), rounds, fill, material.classes)
    return Trained(model, models, f"{rounds:,} rounds of {len(models)} booster{'s' if len(models) > 1 else ''}")


def _parameters(material: Material) -> dict[str, Any]:
    rows = min(len(part.learnt) for part in material.parts)
    objective: dict[str, Any] = {"objective": "regression", "metric": "l2"}
    if material.classes:
        many = {"objective": "multiclass", "metric": "multi_logloss", "num_class": material.classes}
        objective = {"objective": "binary", "metric": "binary_logloss"} if material.classes == 2 else many
    return {
        **objective,
        "learning_rate": 0.1 if rows > MANY_ROWS else 0.04,
        "num_leaves": 31,
        "min_data_in_leaf": min(20, max(3, rows // 50)),
        "min_data_per_group": min(100, max(5, rows // 50)),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "max_bin": 255,
        "seed": material.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": material.threads,
        "verbosity": -1,
    }


@dataclass(slots=True)
class _Exported:
    """Trees as the attributes of TreeEnsembleRegressor: a line for each node, and one for each leaf's weight."""

    fill: Floats
    trees: int = 0
    nodes: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                *("treeids", "nodeids", "featureids", "values", "modes"),
                *("truenodeids", "falsenodeids", "missing_value_tracks_true"),
            )
        }
    )
    leaves: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    )

    def add(self, root: dict[str, Any], target: int, share: float) -> None:
        """One tree, whose leaves add `share` of their value to an output."""
        waiting, count = [(root, 0)], 1
        while waiting:
            node, number = waiting.pop()
            if "leaf_value" in node:
                self._node(number, 0, 0.0, "LEAF", 0, 0, False)
                line = (self.trees, number, target, share * node["leaf_value"])
                for name, value in zip(self.leaves, line, strict=True):
                    self.leaves[name].append(value)
                continue
            place, left, right = node["split_feature"], count, count + 1
            count += 2
            if node["decision_type"] == "<=":
                threshold = node["threshold"]
                tracks = bool(node["default_left"])
                if node["missing_type"] == "None":
                    # It then reads a missing number as what `fill` says, or as 0.
                    tracks = bool(np.nan_to_num(self.fill[place]) <= threshold)
                self._node(number, place, _below(threshold), "BRANCH_LEQ", left, right, tracks)
            else:
                # One after another: the first category that it is leads to the left.
                ids = [float(one) for one in str(node["threshold"]).split("||")]
                for one in ids[:-1]:
                    self._node(number, place, one, "BRANCH_EQ", left, count, False)
                    number, count = count, count + 1
                self._node(number, place, ids[-1], "BRANCH_EQ", left, right, False)
            waiting += [(node["right_child"], right), (node["left_child"], left)]
        self.trees += 1

    def add_to(self, graph: Graph, rows: str, outputs: int) -> str:
        """The operator."""
        fields: dict[str, Any] = {"aggregate_function": "SUM", "post_transform": "NONE", "n_targets": outputs}
        fields |= {f"nodes_{name}": values for name, values in self.nodes.items()}
        fields |= {f"target_{name}": values for name, values in self.leaves.items()}
        return graph.add("TreeEnsembleRegressor", rows, domain="ai.onnx.ml", **fields)

    def _node(self, number: int, place: int, value: float, mode: str, left: int, right: int, tracks: bool) -> None:
        line = (self.trees, number, place, value, mode, left, right, int(tracks))
        for name, one in zip(self.nodes, line, strict=True):
            self.nodes[name].append(one)


def _below(threshold: float) -> float:
    """The largest float32 that is not above it: a float32 is at most the one where it is at most the other.

    Infinite where every finite one is at most the threshold: a number too large for a float32 is no missing one.
    """
    with np.errstate(over="ignore"):
        found = np.float32(threshold)
    if float(found) <= threshold or found == np.inf:
        return float(found)
    return float(np.nextafter(found, np.float32(-np.inf)))
