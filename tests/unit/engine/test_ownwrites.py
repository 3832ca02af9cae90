"""A key waits for the watches to bring its own last writes, and for nothing longer than it must."""

from __future__ import annotations

import pytest

from kaon.controllers.base import Key, Object
from kaon.engine import ownwrites
from kaon.engine.ownwrites import PATIENCE_SECONDS, OwnWrites

OWNER, OTHER = Key("Dataset", "ns", "one"), Key("Dataset", "ns", "two")


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(ownwrites, "time", made)
    return made


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def own(clock: Clock, woken: list[Key]) -> OwnWrites:
    return OwnWrites(woken.append)


def obj(version: int, kind: str = "Job", name: str = "one-job", namespace: str = "ns") -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version)}}


def test_a_key_waits_until_the_watch_has_come_as_far_as_its_write(own: OwnWrites, woken: list[Key]) -> None:
    own.wrote(OWNER, obj(10))
    assert own.wait_for(OWNER) == PATIENCE_SECONDS
    own.reached("Job", None, 9)
    assert own.waits(OWNER) and woken == []
    own.reached("Job", None, 10)
    assert woken == [OWNER] and own.wait_for(OWNER) is None


def test_a_key_that_was_not_asked_for_meanwhile_is_not_queued(own: OwnWrites, woken: list[Key]) -> None:
    own.wrote(OWNER, obj(10))
    own.reached("Job", None, 10)
    assert own.wait_for(OWNER) is None and woken == []


def test_another_key_and_another_kind_hold_nobody_up(own: OwnWrites) -> None:
    own.wrote(OWNER, obj(10))
    assert own.wait_for(OTHER) is None
    own.reached("Report", None, 99)
    assert own.waits(OWNER)


def test_every_kind_that_was_written_is_waited_for_and_of_each_the_newest(own: OwnWrites) -> None:
    own.wrote(OWNER, obj(10))
    own.wrote(OWNER, obj(12, "Report"))
    own.wrote(OWNER, obj(14))
    own.reached("Report", None, 20)
    own.reached("Job", None, 13)
    assert own.waits(OWNER)
    own.reached("Job", None, 14)
    assert not own.waits(OWNER)


def test_what_was_seen_before_its_answer_came_is_not_waited_for(own: OwnWrites) -> None:
    own.reached("Job", None, 10)
    own.wrote(OWNER, obj(10))
    own.saw(obj(11, "Dataset", "one"))
    own.wrote(OWNER, obj(11, "Dataset", "one"))
    assert own.wait_for(OWNER) is None


def test_an_object_that_is_deleted_meanwhile_blocks_nobody(own: OwnWrites) -> None:
    own.wrote(OWNER, obj(10))
    own.reached("Job", None, 11)  # the event that it is deleted
    own.wrote(OTHER, obj(12, "Dataset", "two"))
    own.saw_gone(OTHER)
    assert not own.waits(OWNER) and not own.waits(OTHER)


def test_a_list_after_a_restart_of_the_watch_is_enough(own: OwnWrites) -> None:
    own.wrote(OWNER, obj(10, "Dataset", "one"))
    own.reached("Dataset", None, 30)
    assert not own.waits(OWNER)


def test_events_of_another_custom_resource_tell_nothing_of_this_one(own: OwnWrites) -> None:
    own.wrote(OWNER, obj(10, "Dataset", "one"))
    own.saw(obj(99, "Dataset", "two"))
    assert own.waits(OWNER)
    own.saw(obj(10, "Dataset", "one"))
    assert not own.waits(OWNER)


def test_a_watch_that_brings_nothing_blocks_a_key_for_a_bounded_time(
    own: OwnWrites, clock: Clock, woken: list[Key]
) -> None:
    own.wrote(OWNER, obj(10))
    clock.seconds += PATIENCE_SECONDS - 1
    assert own.wait_for(OWNER) == 1.0
    clock.seconds += 1
    assert own.wait_for(OWNER) is None and own.unseen() == 0
    own.reached("Job", None, 10)
    assert woken == []


def test_with_a_watch_for_each_namespace_only_that_one_counts(clock: Clock, woken: list[Key]) -> None:
    own = OwnWrites(woken.append, by_namespace=True)
    own.wrote(OWNER, obj(10))
    own.reached("Job", "other", 99)
    assert own.waits(OWNER)
    own.reached("Job", "ns", 10)
    assert not own.waits(OWNER)
