"""Answers of the API server become sentences that help; watch lines become events."""

from __future__ import annotations

import json

import pytest

from kaon.cli import cluster
from kaon.cli.cluster import Answer, WatchExpired
from kaon.cli.errors import CliError, ConnectionLost


def answer(status: int, message: str = "said the server") -> Answer:
    return Answer(status, {}, json.dumps({"kind": "Status", "message": message}).encode())


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "Log in"), (403, "role `view` in namespace demo"), (404, "helm install kaon")]
)
def test_a_refusal_says_the_way_out(status: int, hint: str) -> None:
    with pytest.raises(CliError) as error:
        cluster._checked(answer(status), "Dataset", "demo")
    assert hint in error.value.hint


def test_a_name_that_is_not_there_offers_near_ones() -> None:
    assert cluster.not_found("Dataset", "demo", "r9", ["r8", "wine"]).hint == "Did you mean r8?"


def test_without_a_near_name_all_are_listed() -> None:
    assert cluster.not_found("Dataset", "demo", "xyz", ["r8", "wine"]).hint == "There are: r8, wine."


def test_in_an_empty_namespace_the_option_is_named() -> None:
    assert "-n" in cluster.not_found("Dataset", "demo", "xyz", []).hint


def test_events_are_cut_at_lines_wherever_chunks_end() -> None:
    wire = b"".join(
        json.dumps({"type": kind, "object": {"metadata": {"name": name}}}).encode() + b"\n"
        for kind, name in [("ADDED", "a"), ("BOOKMARK", "b")]
    )
    for size in (1, 7, 1000):
        chunks = iter([wire[start : start + size] for start in range(0, len(wire), size)])
        assert [(kind, obj["metadata"]["name"], obj["kind"]) for kind, obj in cluster._events(chunks, "Dataset")] == [
            ("ADDED", "a", "Dataset"),
            ("BOOKMARK", "b", "Dataset"),
        ]


@pytest.mark.parametrize(("code", "error"), [(410, WatchExpired), (500, ConnectionLost)])
def test_an_error_event_ends_the_watch(code: int, error: type[Exception]) -> None:
    wire = json.dumps({"type": "ERROR", "object": {"code": code, "message": "ended"}}).encode() + b"\n"
    with pytest.raises(error):
        list(cluster._events(iter([wire]), "Dataset"))


def test_a_busy_server_is_tried_again_and_a_refusal_is_not() -> None:
    with pytest.raises(ConnectionLost):
        cluster._checked(answer(503), "Dataset", "demo")
    with pytest.raises(CliError) as error:
        cluster._checked(answer(403), "Dataset", "demo")
    assert not isinstance(error.value, ConnectionLost)
