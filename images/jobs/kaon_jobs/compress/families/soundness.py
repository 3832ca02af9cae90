"""Whether an exported model is sound at the ends of what it reads: a text of full length and an empty one; a row of a
table without any value; a history of full length and an empty one; a black and a white image.

Touches onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_history import OnnxHistoryModel
from kaon_jobs.predict.onnx_model import MODEL_FILE, Floats, Inputs, read_card
from kaon_jobs.predict.onnx_table import OnnxTableModel
from kaon_jobs.predict.onnx_text import OnnxTextModel, longest_of

_TABLES = {"Gather": "axis", "GatherBlockQuantized": "gather_axis"}
"""Operators that look up rows of a table, and what they call its axis."""


def check_edges(directory: Path, examples: Sequence[Any]) -> None:
    """Asks the exported model of a directory what lies at the ends of what it reads, texts alone and together.

    Raises:
        TechniqueFailed: it fails, answers with what is no number, or looks up rows that a table does not have.
    """
    match read_card(directory).reads:
        case "text":
            _check_texts(directory, examples)
        case "table":
            _check_empty_row(OnnxTableModel(directory, threads=1))
        case "image":
            _check_plain_images(directory)
        case "history":
            _check_histories(OnnxHistoryModel(directory, threads=1))


@contextmanager
def _answering(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # onnxruntime has an exception for each of its codes, and their only base is this.
        raise TechniqueFailed(f"the model fails on {what}: {_first_line(error)}") from error


def _check_finite(scores: Floats, what: str) -> None:
    if not np.isfinite(scores).all():
        raise TechniqueFailed(f"the model answers {what} with what is no number")


def _check_empty_row(model: OnnxTableModel) -> None:
    what = "a row without any value"
    with _answering(what):
        scores = model.run(model.encode([(None,) * len(model.reader.columns)]))
    _check_finite(scores, what)


def _check_plain_images(directory: Path) -> None:
    # It brings Pillow, which other models do not need.
    from kaon_jobs.predict.onnx_image import OnnxImageModel

    model = OnnxImageModel(directory, threads=1)
    shape = (model.reader.channels, model.reader.height, model.reader.width)
    for value, what in ((0.0, "a black image"), (255.0, "a white image")):
        with _answering(what):
            scores = model.run(model.encode([np.full(shape, value, np.float32)]))
        _check_finite(scores, what)


def _check_histories(model: OnnxHistoryModel) -> None:
    names = model.reader.names
    for asked, what in (
        ([((), None)], "a history without items"),
        ([(names[: model.reader.length], None)], "a history of full length"),
        ([((), None), (names[: model.reader.length], None)], "a long and an empty history at once"),
    ):
        with _answering(what):
            scores = model.run(model.encode(asked))
        if scores.shape != (len(asked), len(names)) or not np.isfinite(scores).all():
            raise TechniqueFailed(f"the model answers {what} with what is no score of each item")


def _check_texts(directory: Path, examples: Sequence[Any]) -> None:
    model = OnnxTextModel(directory, threads=1)
    empty, long = edge_texts(model.tokenizer, examples)
    lookups: _TableLookups | None = None  # loaded once, and only for a model that answers
    for asked, what in (
        ([long], f"a text of full length, {longest_of(directory)} tokens"),
        ([empty], "an empty text"),
        ([long, empty], "a long and an empty text at once"),
    ):
        inputs = model.encode(asked)
        with _answering(what):
            scores = model.run(inputs)
        _check_finite(scores, what)
        lookups = lookups or _TableLookups(directory / MODEL_FILE)
        beyond = lookups.out_of_range(inputs)
        if beyond:
            raise TechniqueFailed(f"on {what} the model looks up rows that its tables do not have: {beyond[0]}")


class _TableLookups:
    """The lookups of an exported model in its stored tables, which are asked for apart from its answers."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._lookups: list[tuple[str, int, str]] = []
        """Name of the rows asked for, rows of the table, name of the table."""
        for node in model.graph.node:
            if node.op_type in _TABLES and node.input[0] in stored and node.input[1] not in stored:
                axis = next((item.i for item in node.attribute if item.name == _TABLES[node.op_type]), 0)
                self._lookups.append((node.input[1], int(stored[node.input[0]].dims[axis]), node.input[0]))
        outside = {name for name, _, _ in self._lookups} - {item.name for item in model.graph.input}
        self._outside = sorted(outside)
        """Rows that the model computes. The others are its inputs."""
        if self._outside:
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._outside)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def out_of_range(self, inputs: Inputs) -> list[str]:
        """What is asked beyond a table's rows, in words. A table in four bits answers such all the same."""
        found = dict(inputs)
        if self._outside:
            found.update(zip(self._outside, self._session.run(self._outside, inputs), strict=True))
        return [
            f"row {int(found[name].max())} of {rows} in {table}"
            for name, rows, table in self._lookups
            if found[name].size and not (found[name].max() < rows and found[name].min() >= -rows)
        ]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
