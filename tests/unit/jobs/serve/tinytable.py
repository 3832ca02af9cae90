"""Models of a table of three columns, linear over its numbers, beside tiny.py: of classes, and of a number."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kaon.api.signature import Signature, TensorSpec
from kaon.contract.manifest import Column, GoldenExample, ModelCard
from kaon_jobs.predict.onnx_model import Row
from kaon_jobs.runtime.graph import softmax
from kaon_jobs.runtime.table import TableReader

COLUMNS = [
    Column(name="age", type="number"),
    Column(name='the job, "held" 汉 \U0001f600', type="category", categories=["baker", "teacher"]),
    Column(name="since", type="datetime"),
]
ROWS: list[Row] = [
    (41.0, "teacher", "2020-01-31"),
    (-1.5, "baker", "1969-12-31T23:59:30+02:00"),
    (None, "pilot", None),
    (0.25, None, None),
    (None, None, "2024-02-29T12:00"),
    (None, None, None),
]
"""A number that is missing, a category that no training row has, and a row of which nothing is known among them."""
CLASSES = ["low", "high"]


def write_model(folder: Path, labels: list[str]) -> None:
    """model.onnx: NaN replaced by 0, then a sum of the numbers by weight."""
    folder.mkdir(parents=True, exist_ok=True)
    wide = max(1, len(labels))
    weights = _weights(wide)
    output = "logits" if labels else "prediction"
    nodes = [
        helper.make_node("IsNaN", ["rows"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "rows"], ["numbers"]),
        helper.make_node("MatMul", ["numbers", "weights"], [output]),
    ]
    constants = [numpy_helper.from_array(np.zeros((), np.float32), "zero"), numpy_helper.from_array(weights, "weights")]
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", weights.shape[0]])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", wide])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )


def answers(rows: list[Row], labels: list[str]) -> NDArray[np.float32]:
    """Probabilities, or predictions [rows, 1], computed by numpy alone."""
    numbers = TableReader([column.wire() for column in COLUMNS]).numbers(rows)
    scores = np.nan_to_num(numbers, nan=0.0) @ _weights(max(1, len(labels)))
    return softmax(scores) if labels else scores


def card(folder: Path, labels: list[str], *, golden: bool = True) -> ModelCard:
    """The card of such a model."""
    found = [
        GoldenExample(
            row=list(row), label=labels[int(answer.argmax())] if labels else None, answer=list(map(float, answer))
        )
        for row, answer in zip(ROWS, answers(ROWS, labels), strict=True)
    ]
    outputs = [TensorSpec(name="prediction", datatype="FP64", shape=[-1, 1])]
    if labels:
        outputs = [
            TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
            TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(labels)]),
        ]
    return ModelCard(
        task="table",
        labels=labels,
        columns=COLUMNS,
        signature=Signature(inputs=[], outputs=outputs),
        serving_files=["model.onnx"],
        golden=found if golden else [],
    )


def _weights(wide: int) -> NDArray[np.float32]:
    # Days since 1970 are thousands: a weight like the others' would leave nothing of these.
    scale = np.array([0.1, 1, 0.001, 0.1, 0.1, 0.1], dtype=np.float32)
    return np.random.default_rng(1).normal(size=(6, wide)).astype(np.float32) * scale[:, None]


KINDS = {
    "classes": (partial(write_model, labels=CLASSES), partial(card, labels=CLASSES)),
    "number": (partial(write_model, labels=[]), partial(card, labels=[])),
}
"""Name -> what writes the model into a folder, and what makes its card."""
