"""A served model that ranks items: how histories are read, what both servers' code answers, and when a probe agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kaon.contract.jobspec import SPEC_VARIABLE
from kaon_jobs import main
from kaon_jobs.measure.agreement import ranking_difference
from kaon_jobs.report.told import Source
from kaon_jobs.runtime.history import NONE, best, padded
from kaon_jobs.serve import probe

from . import tiny, tinyhistory
from .test_batches import Asked

FOLDER = {"triton": "repository/m/1", "torchserve": "store/m"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A laid-out model."""
    tinyhistory.write_model(tmp_path)
    settings = tiny.settings_of(tinyhistory.card(tmp_path), max_batch_size=8)
    (tmp_path / "serving.json").write_text(json.dumps(settings))
    return tmp_path


def predictor(folder: Path) -> Any:
    return tiny.siblings("predictor").Predictor(folder)


def reader(folder: Path) -> Any:
    return predictor(folder)._history


@pytest.mark.parametrize("server", FOLDER)
def test_the_laid_out_model_answers_as_recorded_without_what_reads_texts_or_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str
) -> None:
    target = tmp_path / "models"
    target.mkdir()
    source = tiny.publish(tmp_path / "artifact", write=tinyhistory.write_model, described=tinyhistory.card)
    monkeypatch.setenv(SPEC_VARIABLE, tiny.job(source, target, server).model_dump_json(by_alias=True))
    assert main.run("fetch", Source()) == 0
    laid_out = target / FOLDER[server]
    script = (
        "import json, sys; from pathlib import Path; from predictor import Predictor; p = Predictor(Path('.'));"
        "found = p.tensors(p.answers([tuple(row) for row in json.loads(sys.argv[1])]));"
        "print(json.dumps([found['items'].tolist(), found['scores'].tolist(), 'tokenizers' in sys.modules]))"
    )
    command = [sys.executable, "-c", script, json.dumps(tinyhistory.ROWS)]
    done = subprocess.run(command, cwd=laid_out, capture_output=True, text=True, check=True)
    items, scores, reads_texts = json.loads(done.stdout)
    recorded = tiny.golden_of(target)["examples"]
    assert items == [example["items"] for example in recorded] and not reads_texts
    assert scores == [pytest.approx(example["answer"], abs=1e-5) for example in recorded]
    assert not (laid_out / "text.py").exists() and not (laid_out / "table.py").exists()


class TestReading:
    def test_the_newest_items_are_read_each_once_and_unknown_ones_left_out(self, folder: Path) -> None:
        given = reader(folder)
        asked = ["item 1", "nothing", "item 2", "item 1", "item 7"]
        assert given.seen((asked, None)).tolist() == [2, 1, 7]
        assert given.numbers([(asked, None), ((), None)]).tolist() == [[2, 1, 7], [12, 12, 12]]
        assert given.numbers([([f"item {number}" for number in range(9)], None)]).tolist() == [[5, 6, 7, 8]]

    def test_a_users_own_history_is_read_only_where_none_is_given(self, folder: Path) -> None:
        given = reader(folder)
        assert given.seen(((), "ann")).tolist() == [1, 2] and given.seen((None, "bob 汉")).tolist() == [11]
        assert given.seen((("item 5",), "ann")).tolist() == [5]
        assert given.seen((("", ""), "ann")).tolist() == [1, 2]
        # An item that nobody knows is a history all the same: it is not the user's own.
        assert given.seen((("nothing",), "ann")).tolist() == given.seen(((), "zoe")).tolist() == []

    def test_short_histories_are_filled_up_in_front(self) -> None:
        histories = [np.array([1]), np.array([2, 3, 4]), np.array([], np.int64)]
        assert padded(histories, 9, 2).tolist() == [[9, 1], [3, 4], [9, 9]]
        assert padded([np.array([], np.int64)], 9, 5).tolist() == [[9]]


class TestRanking:
    def test_ties_go_to_the_item_that_more_take_and_seen_ones_are_left_out(self) -> None:
        scores = np.array([[0.5, 0.9, 0.5, 0.1, 0.5]], np.float32)
        assert best([np.array([1])], scores, 3).tolist() == [[0, 2, 4, 0.5, 0.5, 0.5]]
        assert best([np.array([], np.int64)], scores, 2).tolist() == [[1, 0, pytest.approx(0.9), 0.5]]

    def test_where_items_are_few_a_place_stays_empty(self, folder: Path) -> None:
        scores = np.array([[1.0, 2.0, 3.0]], np.float32)
        assert best([np.array([0, 2])], scores, 2).tolist() == [[1, NONE, 2, 0]]
        assert best([np.array([], np.int64)], scores, 4).tolist() == [[2, 1, 0, NONE, 3, 2, 1, 0]]
        given = reader(folder)
        told = given.tensors(np.array([[1, NONE, NONE, 2, 0, 0]], np.float32))
        assert told["items"].tolist() == [["item 1", "", ""]] and told["scores"].dtype == np.float32

    def test_a_score_that_is_no_number_is_found(self, folder: Path) -> None:
        for wrong in (np.nan, np.inf):
            found = best([np.array([0])], np.array([[1.0, wrong, 0.5]], np.float32), 2)
            assert not np.isfinite(found).any()
        served = predictor(folder)
        served._session = SimpleNamespace(run=lambda names, feed: [np.full((1, 12), np.nan, np.float32)])
        (answer,) = served.each([[(("item 1",), None)]])
        assert isinstance(answer, ArithmeticError)


def body(**tensors: Any) -> bytes:
    inputs = [
        {"name": name, "shape": [1, len(values)], "datatype": "BYTES", "data": values}
        for name, values in tensors.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def test_torchserve_answers_histories_and_a_wrong_one_fails_alone(folder: Path) -> None:
    handler, asked = tiny.siblings("torchserve_handler").Handler(), Asked(folder)
    handler.initialize(asked)
    bodies = [body(history=["item 0", "item 5"]), body(history=["a"], user=["u", "v"]), body(user=["ann"])]
    answers = [json.loads(answer) for answer in handler.handle([{"body": one} for one in bodies], asked)]
    assert asked.status == {1: 400} and "inputs[1].shape is [1,2]" in answers[1]["error"]
    golden = tinyhistory.card(folder).golden
    for answer, recorded in ((answers[0], golden[0]), (answers[2], golden[2])):
        outputs = {item["name"]: item for item in answer["outputs"]}
        assert outputs["items"]["data"] == recorded.items and outputs["items"]["shape"] == [1, 3]
        assert outputs["scores"]["data"] == pytest.approx(recorded.answer, abs=1e-5)


class _Tensor:
    def __init__(self, name: str, values: Any) -> None:
        self.name, self.values = name, values

    def as_numpy(self) -> Any:
        return self.values


class _Request(dict[str, Any]):
    """The inputs of a request, by name."""

    def request_id(self) -> str:
        return ""


class _Backend(SimpleNamespace):
    """What Triton gives its python backend, as far as it is used."""

    Tensor = _Tensor
    TritonError = type("TritonError", (), {"INVALID_ARG": 1, "INTERNAL": 2, "__init__": lambda self, *told: None})

    @staticmethod
    def InferenceResponse(output_tensors: list[_Tensor], error: Any = None) -> Any:
        return SimpleNamespace(tensors={one.name: one.values for one in output_tensors}, error=error)

    @staticmethod
    def get_input_tensor_by_name(request: dict[str, Any], name: str) -> _Tensor | None:
        return _Tensor(name, request[name]) if name in request else None


def test_triton_answers_requests_of_one_batch_whose_histories_differ_in_length(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", _Backend())
    monkeypatch.delitem(sys.modules, "triton_model", raising=False)
    model = tiny.siblings("triton_model").TritonPythonModel()
    model.initialize({"model_repository": str(folder.parent), "model_version": folder.name})

    def names(*rows: list[str]) -> Any:
        return np.array([[name.encode() for name in row] for row in rows], dtype=np.object_)

    requests = [
        _Request(history=names(["item 0", "item 5"], ["teacher", ""]), user=names(["x"], ["ann"])),
        _Request(user=names(["ann"])),
        _Request(history=names(["no such item"])),
        _Request(history=np.array([[b"\xff"]], dtype=np.object_)),
    ]
    found = model.execute(requests)
    golden = tinyhistory.card(folder).golden
    assert [answer.error is None for answer in found] == [True, True, True, False]
    assert found[0].tensors["items"].tolist() == [golden[0].items, golden[1].items]
    assert found[1].tensors["items"].tolist() == [golden[2].items]
    assert found[2].tensors["items"].tolist() == [golden[6].items]
    sys.modules.pop("triton_model", None)


class TestAgreement:
    def apart(self, items: str, scores: list[float], recorded: str, others: list[float]) -> float:
        return ranking_difference(list(items), scores, list(recorded), others, 0.01)

    def test_the_same_ranking_differs_by_its_scores(self) -> None:
        assert self.apart("abc", [3, 2.005, 1], "abc", [3, 2, 1]) == pytest.approx(0.005)

    def test_items_may_change_places_only_where_their_scores_are_tied(self) -> None:
        assert self.apart("acb", [3, 2, 2], "abc", [3, 2, 2]) == 0
        assert self.apart("acb", [3, 2, 1], "abc", [3, 2, 1]) == float("inf")

    def test_another_item_may_stand_only_beside_the_last_one(self) -> None:
        assert self.apart("abx", [3, 2, 1], "abc", [3, 2, 1]) == 0
        assert self.apart("axc", [3, 2, 1], "abc", [3, 2, 1]) == float("inf")

    def test_fewer_items_or_no_number_never_agree(self) -> None:
        assert self.apart("ab", [3, 2], "abc", [3, 2, 1]) == float("inf")
        assert self.apart("abc", [3, 2, float("nan")], "abc", [3, 2, 1]) == float("inf")

    def test_a_probe_says_what_differs(self) -> None:
        recorded = {"items": ["a", "b"], "answer": [2.0, 1.0]}
        outputs = {"items": ["b", "a"], "scores": [2.0, 1.0]}
        with pytest.raises(probe.Mismatch, match="recorded answer 1 ranks other items first than the server"):
            probe._compare_ranking("recorded answer 1", recorded, outputs, 0.1)
        outputs = {"items": ["a", "b"], "scores": [2.5, 1.0]}
        with pytest.raises(probe.Mismatch, match=r"differs by 0.5 in a score, more than the tolerance of 0.1"):
            probe._compare_ranking("recorded answer 1", recorded, outputs, 0.1)
