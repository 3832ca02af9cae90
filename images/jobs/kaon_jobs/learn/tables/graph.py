"""An ONNX graph under construction: nodes and constants, by the names of what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kaon_jobs.learn.export import OPSET

NUMBERS = "numbers"
"""The one input of a model of a table: float32 [rows, width], as runtime/table.py reads rows.

NaN where a value is missing.
"""


def table_graph(width: int) -> Graph:
    """The empty graph of a model of a table."""
    return Graph(NUMBERS, TensorProto.FLOAT, width)


class Graph:
    """Nodes are added in their order; each returns the name of its output."""

    def __init__(self, name: str, kind: int, width: int | str) -> None:
        """The one input: its name, type and width, a name where that varies."""
        self._input = helper.make_tensor_value_info(name, kind, ["batch", width])
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any]) -> str:
        """A tensor of the graph; float64 becomes float32."""
        kept = values.astype(np.float32) if values.dtype == np.float64 else values
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
        return name

    def add(
        self, operator: str, *inputs: str | float | NDArray[Any], name: str = "", domain: str = "", **fields: Any
    ) -> str:
        """One node with one output; a number among its inputs is a float32 scalar."""
        output = name or f"{operator}_{len(self._nodes)}"
        given = [item if isinstance(item, str) else self.constant(np.asarray(item)) for item in inputs]
        node = helper.make_node(operator, given, [output], domain=domain, **fields)
        self._nodes.append(node)
        return output

    def finished(self, output: str, outputs: int) -> onnx.ModelProto:
        """The whole model, whose output is float32 [rows, outputs]."""
        graph = helper.make_graph(
            self._nodes,
            "model",
            [self._input],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", outputs])],
            self._constants,
        )
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 1)]
        made = helper.make_model(graph, opset_imports=domains, ir_version=8)
        onnx.checker.check_model(made)
        return made
