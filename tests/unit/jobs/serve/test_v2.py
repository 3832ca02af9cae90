"""The V2 protocol as TorchServe's handler speaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaon_jobs.serve.runtime import v2

TENSOR = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": ["one", "two"]}


def parse(body: Any) -> v2.Inference:
    return v2.parse(body, max_batch_size=2)


@pytest.mark.parametrize("data", [["one", "two"], [["one"], ["two"]]])
def test_texts_may_be_flat_or_nested(data: list[Any]) -> None:
    request = {"id": 7, "inputs": [{**TENSOR, "data": data}]}
    assert parse(json.dumps(request).encode()) == v2.Inference(["one", "two"], "7", ("label", "probabilities"))
    assert parse(request) == parse(json.dumps(request))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (None, "not a JSON object"),
        ({}, "exactly one input"),
        ({"inputs": [TENSOR, TENSOR]}, "exactly one input"),
        ({"inputs": [{**TENSOR, "name": "tex"}]}, "unexpected inference input 'tex'"),
        ({"inputs": [{**TENSOR, "datatype": "FP32"}]}, "datatype FP32"),
        ({"inputs": [{**TENSOR, "shape": [2]}]}, "shape [2]"),
        ({"inputs": [{**TENSOR, "data": ["one", 2]}]}, "must be strings"),
        ({"inputs": [{**TENSOR, "data": None}]}, "must be strings"),
        ({"inputs": [{**TENSOR, "shape": [3, 1], "data": ["a", "b", "c"]}]}, "3 texts, expected 1 to 2"),
        ({"inputs": [{**TENSOR, "shape": [0, 1], "data": []}]}, "0 texts"),
        ({"inputs": [TENSOR], "outputs": [{"name": "logits"}]}, "unexpected inference output 'logits'"),
        ({"inputs": [TENSOR], "outputs": "label"}, "unexpected inference output"),
    ],
)
def test_a_wrong_request_is_refused_and_told_why(body: Any, told: str) -> None:
    with pytest.raises(v2.Refusal, match=told.replace("[", r"\[").replace("]", r"\]")):
        parse(body)


def test_only_the_outputs_that_were_asked_for_are_answered() -> None:
    inference = parse({"inputs": [TENSOR], "outputs": [{"name": "label"}]})
    answer = v2.answer("m", inference, ["a", "b"], [[0.75, 0.25], [0.5, 0.5]])
    assert answer == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]}],
    }


def test_probabilities_are_one_flat_row_after_the_other() -> None:
    answer = v2.answer("m", parse({"id": "x", "inputs": [TENSOR]}), ["a", "b"], [[0.75, 0.25], [0.5, 0.5]])
    assert answer["id"] == "x"
    assert answer["outputs"][1] == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [2, 2],
        "data": [0.75, 0.25, 0.5, 0.5],
    }
