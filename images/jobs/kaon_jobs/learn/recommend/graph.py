"""The parts that ONNX graphs of models that rank items share. An item is a row of a table, and the pad the last one."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kaon_jobs.learn.tables.graph import Graph

HISTORY = "history"
"""The one input: int64 [batch, length], as runtime/history.py reads rows."""
SCORES = "scores"

Floats = NDArray[np.float32]


class RankingGraph(Graph):
    """A graph under construction whose output is float32 [batch, items]."""

    def __init__(self, popularity: Floats) -> None:
        super().__init__(HISTORY, TensorProto.INT64, "length")
        self._popularity = popularity
        self.items = len(popularity)

    def shape_of(self, width: int) -> str:
        """[batch, width]"""
        batch = self.add("Slice", self.add("Shape", HISTORY), self.ints(0), self.ints(1))
        return self.add("Concat", batch, self.ints(width), axis=0)

    def ints(self, *values: int) -> str:
        """A constant of int64."""
        return self.constant(np.asarray(values, np.int64))

    def zeros(self, width: int) -> str:
        """float32 [batch, width]"""
        return self.add("ConstantOfShape", self.shape_of(width))

    def taken(self) -> str:
        """float32 [batch, items]: 1 for each item of the history."""
        one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
        ones = self.add("ConstantOfShape", self.add("Shape", HISTORY), value=one)
        marked = self.add("ScatterElements", self.zeros(self.items + 1), HISTORY, ones, axis=1)
        return self.add("Slice", marked, self.ints(0), self.ints(self.items), self.ints(1))

    def with_popular(self, scores: str | None) -> onnx.ModelProto:
        """The whole model: these scores where a history has an item, else the popularity of each item."""
        popular = self.constant(self._popularity[None])
        if scores is None:
            found = self.add("Expand", popular, self.shape_of(self.items), name=SCORES)
            return self.finished(found, self.items)
        known = self.add("Less", HISTORY, self.ints(self.items))
        any_known = self.add("ReduceMax", self.add("Cast", known, to=TensorProto.FLOAT), axes=[1], keepdims=1)
        there = self.add("Cast", any_known, to=TensorProto.BOOL)
        return self.finished(self.add("Where", there, scores, popular, name=SCORES), self.items)
