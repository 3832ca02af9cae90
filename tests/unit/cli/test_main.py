"""The command itself: durations, answers of a model, and errors without tracebacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kaon import __version__
from kaon.cli.ask import class_names, parse
from kaon.cli.errors import EXIT_ERROR, CliError
from kaon.cli.main import parse_duration


def kaon(*arguments: str, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command as a person would."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "COLUMNS": "200"}
    command = [sys.executable, "-c", "from kaon.cli.main import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1m5s", 65)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5d", "m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="is not a duration"):
        parse_duration(text)


def test_a_v2_answer_gives_label_and_probabilities() -> None:
    outputs = [{"name": "label", "data": ["earn"]}, {"name": "probabilities", "data": [0.1, 0.9]}]
    assert parse(json.dumps({"outputs": outputs}).encode()) == ("earn", [0.1, 0.9])


def test_a_v2_answer_without_classes_gives_the_number() -> None:
    assert parse(b'{"outputs": [{"name": "prediction", "data": [53.2]}]}') == (None, [53.2])


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"outputs": []}', b'{"outputs": [{"name": "label", "data": []}]}']
)
def test_an_answer_of_another_form_is_shown(body: bytes) -> None:
    with pytest.raises(CliError, match="not of the V2 protocol"):
        parse(body)


@pytest.mark.parametrize(
    ("status", "names"),
    [
        ({}, []),
        ({"classes": ["a", "b"]}, ["a", "b"]),
        ({"classes": ["a", "b"], "classCount": 2}, ["a", "b"]),
        ({"classes": ["a"], "classCount": 3}, ["a", "class 1", "class 2"]),
    ],
)
def test_a_class_whose_name_the_status_has_no_room_for_is_named_by_its_number(
    status: dict[str, Any], names: list[str]
) -> None:
    assert class_names(status) == names


def test_the_version_needs_no_cluster(tmp_path: Path) -> None:
    done = kaon("version", kubeconfig=tmp_path / "none")
    assert (done.returncode, done.stdout.strip()) == (0, f"kaon {__version__}")


def test_without_a_kubeconfig_the_way_out_is_named(tmp_path: Path) -> None:
    done = kaon("watch", kubeconfig=tmp_path / "none")
    assert done.returncode == EXIT_ERROR
    assert "KUBECONFIG" in done.stderr and "Traceback" not in done.stderr


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        # Port 1 of the loopback: nothing listens there.
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    done = kaon("watch", "--once", kubeconfig=file)
    assert done.returncode == EXIT_ERROR
    assert "http://127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr
