"""Ensembles of trees in a graph: how many there are, and the graph with the first of them alone.

A node TreeEnsembleRegressor or TreeEnsembleClassifier (ai.onnx.ml) holds all trees in attributes that are lists of one
length: of each inner node or leaf its tree and what it does (nodes_…), of each leaf its tree and what it adds to which
output (target_… or class_…).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import onnx

from kaon_jobs.compress.families import graph

OPERATORS: Final = ("TreeEnsembleRegressor", "TreeEnsembleClassifier")
_LISTS: Final = ("nodes", "target", "class")
"""What the attributes of one length have before their first underscore."""
_UNUSED: Final = ("nodes_hitrates", "nodes_hitrates_as_tensor")
"""Figures of the training, which no runtime reads."""


def ensembles(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that hold trees."""
    return [node for node in model.graph.node if node.op_type in OPERATORS]


def most_trees(model: onnx.ModelProto) -> int:
    """Trees that the output with the most trees has; 0 without any."""
    return max((len(trees) for node in ensembles(model) for trees in _by_output(graph.attributes(node))), default=0)


def first_trees(model: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """The graph with the first trees of each output alone, in their order and numbered anew.

    Args:
        share: of the trees of an output, rounded to whole ones; one stays at least.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for node in ensembles(made):
        given = graph.attributes(node)
        kept = sorted(tree for trees in _by_output(given) for tree in trees[: max(1, round(share * len(trees)))])
        _keep(node, given, kept)
    return made


def _by_output(given: Mapping[str, Any]) -> list[list[int]]:
    """Trees by the outputs that their leaves add to, in their order. Boosting adds a tree for each output in turn."""
    kind = "target" if "target_treeids" in given else "class"
    trees, outputs = np.asarray(given[f"{kind}_treeids"]), np.asarray(given[f"{kind}_ids"])
    found: dict[frozenset[int], list[int]] = {}
    for tree in np.unique(given["nodes_treeids"]):
        found.setdefault(frozenset(outputs[trees == tree].tolist()), []).append(int(tree))
    return list(found.values())


def _keep(node: onnx.NodeProto, given: Mapping[str, Any], trees: Iterable[int]) -> None:
    numbers = {tree: number for number, tree in enumerate(trees)}
    stays = {kind: np.isin(given[f"{kind}_treeids"], list(numbers)) for kind in _LISTS if f"{kind}_treeids" in given}
    attributes = [item for item in node.attribute if item.name not in _UNUSED]
    del node.attribute[:]
    for item in attributes:
        kind = item.name.split("_")[0]
        value = given[item.name]
        if kind not in stays or not _of_each(value, len(stays[kind])):
            node.attribute.append(item)
        elif isinstance(value, onnx.TensorProto):
            kept = onnx.numpy_helper.to_array(value)[stays[kind]]
            node.attribute.append(onnx.helper.make_attribute(item.name, onnx.numpy_helper.from_array(kept, value.name)))
        else:
            part = [one for one, stay in zip(value, stays[kind], strict=True) if stay]
            if item.name.endswith("_treeids"):
                part = [numbers[tree] for tree in part]
            node.attribute.append(onnx.helper.make_attribute(item.name, part, attr_type=item.type))


def _of_each(value: Any, count: int) -> bool:
    """Whether an attribute has a value for each node, or for each leaf."""
    if isinstance(value, onnx.TensorProto):
        return list(value.dims) == [count]
    return isinstance(value, list) and len(value) == count
