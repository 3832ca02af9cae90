"""The V2 protocol as TorchServe's handler speaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaon_jobs.runtime import v2

SIGNATURE = v2.Signature(
    [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}],
    [
        {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
    ],
)
VALUES = {"label": ["a", "b"], "probabilities": [0.75, 0.25, 0.5, 0.5]}
TENSOR = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": ["one", "two"]}


def parse(request: dict[str, Any]) -> v2.Inference:
    return v2.parse(json.dumps(request).encode(), SIGNATURE, max_batch_size=2)


@pytest.mark.parametrize("data", [["one", "two"], [["one"], ["two"]]])
def test_texts_may_be_flat_or_nested(data: list[Any]) -> None:
    request = {"id": "7", "inputs": [{**TENSOR, "data": data}]}
    assert parse(request) == v2.Inference(["one", "two"], "7", ("label", "probabilities"))


def test_a_body_may_come_as_a_bytearray() -> None:
    assert v2.parse(bytearray(json.dumps({"inputs": [TENSOR]}).encode()), SIGNATURE, 2).rows == ["one", "two"]


def test_an_empty_text_is_a_text() -> None:
    assert parse({"inputs": [{**TENSOR, "data": ["", "two"]}]}).rows == ["", "two"]


def test_only_the_outputs_that_were_asked_for_are_answered() -> None:
    inference = parse({"inputs": [TENSOR], "outputs": [{"name": "label"}]})
    answer = v2.answer("m", inference, SIGNATURE, VALUES)
    assert answer == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}],
    }


def test_probabilities_are_one_flat_row_after_the_other() -> None:
    answer = v2.answer("m", parse({"id": "x", "inputs": [TENSOR]}), SIGNATURE, VALUES)
    assert answer["id"] == "x"
    assert answer["outputs"][1] == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [2, 2],
        "data": [0.75, 0.25, 0.5, 0.5],
    }
