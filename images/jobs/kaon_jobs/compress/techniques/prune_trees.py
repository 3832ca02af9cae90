"""prune with method: trees: the first trees of a boosted ensemble alone.

Boosting adds trees in order, each to correct what those before it leave (Friedman, "Greedy Function Approximation",
Annals of Statistics 2001): the first ones are the model as it was that much earlier in its training. Nothing is
trained again. An ensemble of trees that were trained apart (a random forest that adds shares) would lose its scale.
"""

from __future__ import annotations

from pathlib import Path

from kaon.api.compressionjob import Prune
from kaon_jobs.compress.families import graph, trees
from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.techniques.base import Technique
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.errors import TechniqueFailed

TAKES: tuple[Kind, ...] = ("trees",)


def technique(parameters: Prune, kind: Kind) -> Technique:
    """See TechniqueModule."""
    return TreePruning(parameters.ratio or 0.0)


class TreePruning:
    """Of each output's trees the last ones go, by the same share."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        model = graph.load(source)
        made = trees.first_trees(model, 1 - self._ratio)
        before, after = trees.most_trees(model), trees.most_trees(made)
        if after == before:
            raise TechniqueFailed(f"a ratio of {self._ratio:g} leaves all {before} trees; ask for more")
        graph.save(made, target)
