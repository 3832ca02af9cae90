"""What is told of the watches of kinds: whether they are open, and what is missing."""

from __future__ import annotations

import logging

import pytest

from kaon.engine.kinds import SETTLING_SECONDS, Kinds


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kinds(clock: Clock) -> Kinds:
    made = Kinds(clock)
    made.expect("Dataset", ["a", "b"])
    made.expect("Report", [None])
    return made


def test_a_kind_is_watched_when_each_of_its_scopes_is(kinds: Kinds) -> None:
    kinds.watched("Dataset", "a")
    kinds.watched("Report", None)
    assert kinds.standing() == {"Dataset": False, "Report": True}
    kinds.watched("Dataset", "b")
    assert kinds.is_watched("Dataset")
    kinds.lost("Dataset", "a")
    assert not kinds.is_watched("Dataset")


def test_a_kind_that_was_never_watched_is_told_at_once(kinds: Kinds) -> None:
    assert kinds.unwatched() == ["Dataset (not watched)", "Report (not watched)"]


def test_a_watch_that_opens_again_soon_is_no_cause_for_complaint(kinds: Kinds, clock: Clock) -> None:
    for scope in ("a", "b"):
        kinds.watched("Dataset", scope)
    kinds.watched("Report", None)
    kinds.lost("Report", None)
    assert kinds.unwatched() == []
    clock.seconds += SETTLING_SECONDS
    assert kinds.unwatched() == ["Report (not watched)"]


def test_a_kind_that_is_not_served_is_told_at_once_and_logged_once(
    kinds: Kinds, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        kinds.absent("Report", None)
        kinds.absent("Report", None)
    assert "Report (not served)" in kinds.unwatched()
    assert caplog.text.count("its CustomResourceDefinition is missing") == 1


def test_a_view_is_complete_when_each_scope_was_listed_or_is_not_served(kinds: Kinds) -> None:
    assert not kinds.is_settled("Dataset")
    kinds.listed("Dataset", "a")
    assert not kinds.is_settled("Dataset")
    kinds.absent("Dataset", "b")
    assert kinds.is_settled("Dataset")


def test_it_is_said_when_a_kind_is_served_again(kinds: Kinds) -> None:
    returned: list[str] = []
    kinds.returned = returned.append
    kinds.watched("Report", None)
    kinds.lost("Report", None)
    kinds.watched("Report", None)
    assert returned == []
    kinds.absent("Report", None)
    kinds.watched("Report", None)
    assert returned == ["Report"]


def test_a_kind_that_is_forgotten_is_missed_by_nobody(kinds: Kinds) -> None:
    kinds.forget("Report")
    kinds.watched("Report", None)
    kinds.absent("Report", None)
    assert "Report" not in kinds.standing()
