"""An ONNX graph of a table under construction: nodes and constants, by the names of what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kaon_jobs.learn.export import OPSET

NUMBERS = "numbers"
"""The one input: float32 [rows, width], as runtime/table.py reads rows; NaN where a value is missing."""


class Graph:
    """Nodes are added in their order; each returns the name of its output."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any]) -> str:
        """A tensor of the graph; float64 becomes float32."""
        kept = values.astype(np.float32) if values.dtype == np.float64 else values
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
        return name

    def add(self, operator: str, *inputs: str | NDArray[Any], name: str = "", domain: str = "", **fields: Any) -> str:
        """One node with one output."""
        output = name or f"{operator}_{len(self._nodes)}"
        given = [item if isinstance(item, str) else self.constant(item) for item in inputs]
        self._nodes.append(helper.make_node(operator, given, [output], domain=domain, **fields))
        return output

    def finished(self, output: str, outputs: int) -> onnx.ModelProto:
        """The whole model, whose output is float32 [rows, outputs]."""
        graph = helper.make_graph(
            self._nodes,
            "table",
            [helper.make_tensor_value_info(NUMBERS, TensorProto.FLOAT, ["batch", self._width])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", outputs])],
            self._constants,
        )
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 1)]
        made = helper.make_model(graph, opset_imports=domains, ir_version=8)
        onnx.checker.check_model(made)
        return made
