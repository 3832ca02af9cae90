"""A model that ranks twelve items by a matrix, beside tiny.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kaon.api.signature import Signature, TensorSpec
from kaon.contract.manifest import GoldenExample, ModelCard
from kaon_jobs.predict.onnx_history import ITEMS_FILE, USERS_FILE, write_catalogue
from kaon_jobs.predict.onnx_model import History
from kaon_jobs.runtime.history import HistoryReader

ITEMS = [*(f"item {number}" for number in range(10)), 'an "item" 汉', "teacher"]
USERS = {"ann": np.array([1, 2]), "bob 汉": np.array([11])}
LENGTH, RANKS = 4, 3
ROWS: list[History] = [
    (("item 0", "item 5"), None),
    (("teacher",), "ann"),
    ((), "ann"),
    ((), "bob 汉"),
    ((), "nobody"),
    ((), None),
    (("no such item",), None),
    (tuple(ITEMS[:11]), None),
]
"""A history longer than is read, of which one item is left to offer, and users that nobody knows among them."""


def write_model(folder: Path) -> None:
    """model.onnx: a row of weights for each item of the history, summed."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("Gather", ["weights", "history"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "one"], ["sums"], keepdims=0),
        helper.make_node("Add", ["sums", "popular"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(_weights(), "weights"),
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(_popular(), "popular"),
    ]
    inputs = [helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", "length"])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(ITEMS)])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, folder / "model.onnx")
    write_catalogue(folder, ITEMS, USERS)


def card(folder: Path, *, golden: bool = True) -> ModelCard:
    """The card of such a model."""
    reader = HistoryReader(folder / ITEMS_FILE, folder / USERS_FILE, LENGTH, RANKS)
    found = reader.tensors(reader.answers(ROWS, _weights()[reader.numbers(ROWS)].sum(axis=1) + _popular()))
    examples = [
        GoldenExample(row=[list(history), user], items=items.tolist(), answer=scores.tolist())
        for (history, user), items, scores in zip(ROWS, found["items"], found["scores"], strict=True)
    ]
    return ModelCard(
        task="items",
        labels=[],
        max_sequence_length=LENGTH,
        ranks=RANKS,
        items=len(ITEMS),
        signature=Signature(
            inputs=[
                TensorSpec(name="history", datatype="BYTES", shape=[-1, -1], optional=True),
                TensorSpec(name="user", datatype="BYTES", shape=[-1, 1], optional=True),
            ],
            outputs=[
                TensorSpec(name="items", datatype="BYTES", shape=[-1, RANKS]),
                TensorSpec(name="scores", datatype="FP32", shape=[-1, RANKS]),
            ],
        ),
        serving_files=["model.onnx", ITEMS_FILE, USERS_FILE],
        golden=examples if golden else [],
    )


def _weights() -> NDArray[np.float32]:
    found = np.random.default_rng(3).normal(size=(len(ITEMS) + 1, len(ITEMS))).astype(np.float32)
    found[-1] = 0
    return found


def _popular() -> NDArray[np.float32]:
    return np.linspace(0.5, 0.1, len(ITEMS), dtype=np.float32)
