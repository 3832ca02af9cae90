"""What is tried in a process apart: bounded in time and memory, and never the end of the stage."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kaon_jobs.pretrained import apart
from kaon_jobs.pretrained.apart import Say, Stopped, TooMuch, tried


def test_what_ends_by_itself_is_not_stopped() -> None:
    assert tried(lambda say: say("a part"), seconds=5) is None


def test_what_fails_is_not_stopped_since_the_stage_tells_of_it() -> None:
    def failing(say: Say) -> None:
        say("a part")
        raise ValueError("the stage fails in the same way")

    assert tried(failing, seconds=5) is None


def test_what_runs_on_is_stopped_with_its_part() -> None:
    def endless(say: Say) -> None:
        say("the first part")
        say("the second part")
        while True:
            pass

    assert tried(endless, seconds=1) == Stopped("the second part", "more than 1 s of processor time")


def test_what_waits_on_is_stopped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_WAIT_FACTOR", 1)
    stopped = tried(lambda say: time.sleep(3600), seconds=1)
    assert stopped is not None and stopped.what == "more than 1 s of processor time"


def test_what_takes_more_memory_than_there_is_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "memory_limit", lambda: apart.memory_used() + 400 * 1024**2)

    def growing(say: Say) -> None:
        say("a list")
        found = []
        while True:
            found.append(bytearray(1024**2))

    stopped = tried(growing, seconds=20)
    assert stopped is not None and stopped.part == "a list" and "bytes of memory" in stopped.what


def test_what_ends_its_process_is_stopped() -> None:
    stopped = tried(lambda say: os.kill(os.getpid(), signal.SIGABRT), seconds=5)
    assert stopped is not None and "ends its process" in stopped.what


def test_a_limit_of_its_own_is_told() -> None:
    def slow(say: Say) -> None:
        say("a text")
        raise TooMuch("more than 1 second for 10 characters")

    assert tried(slow, seconds=5) == Stopped("a text", "more than 1 second for 10 characters")


def test_nothing_is_left_when_the_one_that_waits_is_told_to_stop(tmp_path: Path) -> None:
    child = tmp_path / "child"

    def terminated(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def endless(say: Say) -> None:
        child.write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGUSR1)
        while True:
            time.sleep(1)

    before = signal.signal(signal.SIGUSR1, terminated)
    try:
        with pytest.raises(KeyboardInterrupt):
            tried(endless, seconds=60)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
