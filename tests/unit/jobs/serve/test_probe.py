"""The probes, against a real HTTP server whose answers are written by hand."""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from kaon_jobs.measure import agreement
from kaon_jobs.serve import probe

RECORDED = {"text": "profit", "label": "earn", "answer": [0.2, 0.7, 0.1]}
TEXT = [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]


class Server(HTTPServer):
    answer: tuple[int, Any] = (200, {})
    asked: list[Any]
    """The requests."""
    by_text: ClassVar[dict[str, list[tuple[int, Any]]]] = {}
    """Answers to some texts, one after the other; the last one stays."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(request)
        answers = self.server.by_text.get(request["inputs"][0]["data"][0], [self.server.answer])
        self._answer(*(answers.pop(0) if len(answers) > 1 else answers[0]))

    def do_GET(self) -> None:
        self._answer(*self.server.answer)

    def _answer(self, status: int, content: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.asked = []
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Signals that were sent."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: found.append((pid, number)))
    return found


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server) -> Path:
    url = f"http://127.0.0.1:{server.server_port}"
    golden = {"url": url, "id": "the probe", "tolerance": 0.02, "labels": ["acq", "earn", "trade"], "inputs": TEXT}
    golden["examples"] = [RECORDED, RECORDED]
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    monkeypatch.setattr(probe, "GOLDEN_FILE", tmp_path / "golden.json")
    monkeypatch.setattr(probe, "TERMINATION_LOG", tmp_path / "termination-log")
    monkeypatch.setattr(probe, "MANAGEMENT", url)
    return tmp_path


def said(label: str, probabilities: list[float]) -> tuple[int, Any]:
    return 200, {"outputs": [{"name": "label", "data": [label]}, {"name": "probabilities", "data": probabilities}]}


def test_answers_within_the_tolerance_agree(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = said("earn", [0.21, 0.69, 0.1])
    assert probe.main(["golden"]) == 0
    assert capsys.readouterr().out == "2 recorded answers agree\n"


@pytest.mark.parametrize(
    ("label", "probabilities", "told"),
    [
        ("earn", [0.2, 0.6, 0.2], "recorded answer 1 of 2 differs by 0.1 in a probability"),
        ("acq", [0.2, 0.7, 0.1], "recorded answer 1 of 2 is 'earn', the server says 'acq'"),
        ("?", [0.2, 0.7, 0.1], "the server says '?'"),
        ("earn", [0.3, 0.7], "has 3 classes, the server answers with 2"),
        ("earn", [float("nan")] * 3, "differs by nan"),
    ],
)
def test_another_answer_stops_the_server_and_leaves_the_reason(
    server: Server, files: Path, stopped: list[tuple[int, int]], label: str, probabilities: list[float], told: str
) -> None:
    server.answer = said(label, probabilities)
    assert probe.main(["golden"]) == 1
    message = (files / "termination-log").read_text()
    assert message.startswith("GoldenMismatch: ") and told in message
    assert stopped == [(1, signal.SIGTERM)]


def test_classes_that_are_tied_may_change_places(server: Server, files: Path, stopped: list[tuple[int, int]]) -> None:
    tied = {"text": "x", "label": "earn", "answer": [0.49, 0.5, 0.01]}
    golden = json.loads((files / "golden.json").read_text())
    (files / "golden.json").write_text(json.dumps({**golden, "examples": [tied]}))
    server.answer = said("acq", [0.5, 0.49, 0.01])
    assert probe.main(["golden"]) == 0 and stopped == []


def test_a_server_that_does_not_answer_yet_is_asked_again(
    server: Server, files: Path, stopped: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = (400, {"error": "unknown model"})
    assert probe.main(["golden"]) == 1
    assert stopped == [] and not (files / "termination-log").exists()
    assert "unknown model" in capsys.readouterr().err


def recorded(files: Path, texts: list[str]) -> None:
    golden = json.loads((files / "golden.json").read_text())
    examples = [{**RECORDED, "text": text} for text in texts]
    (files / "golden.json").write_text(json.dumps({**golden, "examples": examples}))


def test_a_text_that_alone_gets_an_error_stops_the_server(
    server: Server, files: Path, stopped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "profit " * 1000
    recorded(files, [long, "", "profit"])
    server.answer = said("earn", [0.2, 0.7, 0.1])
    monkeypatch.setattr(server, "by_text", {long: [(500, {"error": "index 514 is out of bounds"})]}, raising=False)
    assert probe.main(["golden"]) == 1
    message = (files / "termination-log").read_text()
    assert message.startswith("GoldenMismatch: recorded answer 1 of 3, a text of 7000 characters, ")
    assert "gets status 500 while others are answered. The server's log says why" in message and stopped == [
        (1, signal.SIGTERM)
    ]


def test_an_empty_text_is_asked_like_any_other(
    server: Server, files: Path, stopped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(files, ["profit", ""])
    server.answer = said("earn", [0.2, 0.7, 0.1])
    monkeypatch.setattr(server, "by_text", {"": [said("acq", [0.9, 0.05, 0.05])]}, raising=False)
    assert probe.main(["golden"]) == 1
    assert "recorded answer 2 of 2 differs" in (files / "termination-log").read_text()


def test_a_server_that_gets_ready_between_two_texts_is_not_stopped(
    server: Server, files: Path, stopped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(files, ["first", "second"])
    good = said("earn", [0.2, 0.7, 0.1])
    server.answer = good
    monkeypatch.setattr(server, "by_text", {"first": [(400, {"error": "loading"}), good]}, raising=False)
    assert probe.main(["golden"]) == 0 and stopped == []


COLUMNS = [
    {"name": "age", "datatype": "FP64", "shape": [-1, 1], "optional": True},
    {"name": "job", "datatype": "BYTES", "shape": [-1, 1], "optional": True},
    {"name": "since", "datatype": "BYTES", "shape": [-1, 1], "optional": True, "content": "datetime"},
]


def recorded_rows(files: Path, rows: list[list[Any]]) -> None:
    golden = json.loads((files / "golden.json").read_text())
    examples = [{"row": row, "answer": [53.2]} for row in rows]
    golden |= {"labels": [], "inputs": COLUMNS, "examples": examples, "tolerance": 0.5}
    (files / "golden.json").write_text(json.dumps(golden))


def predicted(value: float) -> tuple[int, Any]:
    return 200, {"outputs": [{"name": "prediction", "data": [value]}]}


def test_a_row_is_asked_column_by_column_and_a_missing_number_is_left_out(
    server: Server, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded_rows(files, [[41.0, "teacher", "2020-01-31"], [None, None, None]])
    server.answer = predicted(53.6)
    assert probe.main(["golden"]) == 0
    assert capsys.readouterr().out == "2 recorded answers agree\n"
    asked = [{item["name"]: item["data"] for item in request["inputs"]} for request in server.asked]
    assert {request["id"] for request in server.asked} == {"the probe"}
    assert asked == [{"age": [41.0], "job": ["teacher"], "since": ["2020-01-31"]}, {"job": [""], "since": [""]}]


def test_another_prediction_stops_the_server(server: Server, files: Path, stopped: list[tuple[int, int]]) -> None:
    recorded_rows(files, [[41.0, "teacher", None]])
    server.answer = predicted(54.0)
    assert probe.main(["golden"]) == 1
    told = "recorded answer 1 of 1 differs by 0.8 in a prediction, more than the tolerance of 0.5"
    assert told in (files / "termination-log").read_text() and stopped == [(1, signal.SIGTERM)]


def test_a_row_that_alone_gets_an_error_is_told_without_its_values(
    server: Server, files: Path, stopped: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded_rows(files, [[None, "secret", None], [None, "other", None]])
    server.answer = predicted(53.2)
    monkeypatch.setattr(server, "by_text", {"secret": [(500, {"error": "no such category: secret"})]}, raising=False)
    assert probe.main(["golden"]) == 1
    message = (files / "termination-log").read_text()
    assert "recorded answer 1 of 2, a row of 3 values, gets status 500" in message and "secret" not in message


@pytest.mark.parametrize(
    ("workers", "code"), [(["READY"], 0), (["UNLOADING", "READY"], 0), (["UNLOADING"], 1), ([], 1)]
)
def test_torchserve_is_ready_when_a_worker_is(server: Server, workers: list[str], code: int) -> None:
    server.answer = (200, [{"workers": [{"status": status} for status in workers]}])
    assert probe.main(["torchserve", "m"]) == code


def test_a_wrong_call_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_probe_imports_the_standard_library_and_one_function_that_does_the_same() -> None:
    assert _imported(probe) == {"kaon_jobs.measure.agreement"}
    assert _imported(agreement) == set()


def _imported(module: ModuleType) -> set[str]:
    """What it imports beside the standard library."""
    tree = ast.parse(Path(module.__file__ or "").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
