"""A cluster's processes are found by marker and start time, never by name, and nobody else's are ended."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from localcluster import processes

SLEEP = ["sleep", "60"]


def test_only_the_processes_of_one_cluster_are_found_and_ended(tmp_path: Path) -> None:
    mine = processes.spawn(tmp_path / "mine", "a", SLEEP, os.environ)
    other = processes.spawn(tmp_path / "mine-too", "a", SLEEP, os.environ)
    stranger = subprocess.Popen(SLEEP)
    try:
        assert processes.marked(tmp_path / "mine") == {mine.pid}
        processes.end(processes.marked(tmp_path / "mine"))
        assert not mine.alive()
        assert other.alive()
        assert stranger.poll() is None
    finally:
        processes.end([other.pid])
        stranger.kill()
        stranger.wait()


def test_children_that_a_component_leaves_behind_are_found(tmp_path: Path) -> None:
    parent = processes.spawn(tmp_path, "a", ["sh", "-c", "sleep 60 & echo started; exec sleep 60"], os.environ)
    log = tmp_path / "logs" / "a.log"
    while "started" not in log.read_text():
        assert parent.alive()
    os.kill(parent.pid, 9)
    while parent.alive():
        processes.reap()
    left = processes.marked(tmp_path)
    assert len(left) == 1
    processes.end(left)
    assert processes.marked(tmp_path) == set()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    stubborn = processes.spawn(
        tmp_path, "a", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], os.environ
    )
    while "ready" not in (tmp_path / "logs" / "a.log").read_text():
        assert stubborn.alive()
    processes.end([stubborn.pid], grace=0.3)
    assert not stubborn.alive()
    processes.end(processes.marked(tmp_path))


def test_a_later_process_with_the_same_pid_is_not_taken_for_the_component(tmp_path: Path) -> None:
    process = processes.spawn(tmp_path, "a", SLEEP, os.environ)
    assert processes.recorded(tmp_path, "a") == process
    assert process.alive()
    assert not processes.Process(process.pid, "1", process.command).alive()
    processes.end([process.pid])
    assert not process.alive()


def test_a_component_that_was_never_started_or_half_written_is_not_recorded(tmp_path: Path) -> None:
    assert processes.recorded(tmp_path, "a") is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.json").write_text('{"pid": 1')
    assert processes.recorded(tmp_path, "a") is None
