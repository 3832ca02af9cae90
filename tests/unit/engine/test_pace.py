"""Turns of statuses without news: ten a second in all, an equal share for each namespace."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaon.controllers.base import Key
from kaon.engine.pace import CROWD, LEAST_OFTEN, STATUS_SECONDS, WORD_SECONDS, Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(namespace: str, number: int) -> Key:
    return Key("Dataset", namespace, f"x{number}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_crowd_in_one_namespace_keeps_no_other_waiting(clock: Clock) -> None:
    pace = Pace(clock)
    for number in range(500):
        pace.due(key("crowd", number))
    assert pace.due(key("other", 0)) == 0.0
    assert pace.due(key("other", 1)) == pytest.approx(2 * WORD_SECONDS)


def test_a_large_crowd_speaks_less_often_down_to_a_bound(clock: Clock) -> None:
    pace = Pace(clock)
    waits = [pace.due(key("crowd", number)) for number in range(1000)]
    assert waits[CROWD - 1] == pytest.approx((CROWD - 1) * WORD_SECONDS)
    steps = [later - sooner for sooner, later in pairwise(waits)]
    assert steps == pytest.approx(sorted(steps))
    assert steps[-1] == pytest.approx(WORD_SECONDS * LEAST_OFTEN)


def test_namespaces_that_wait_share_the_turns(clock: Clock) -> None:
    pace, due = Pace(clock), []
    for number in range(100):
        due += [clock.now + pace.due(key(namespace, number)) for namespace in "abcd"]
    in_ten_seconds = sum(when < clock.now + 10 for when in due)
    assert in_ten_seconds == pytest.approx(10 / WORD_SECONDS, abs=8)


def test_a_namespace_is_no_faster_for_asking_one_at_a_time(clock: Clock) -> None:
    pace, written = Pace(clock), 0
    while clock.now < 1010:
        if pace.due(key("a", written)) == 0.0:
            pace.wrote(key("a", written))
            written += 1
        clock.now += 0.01
    assert written == pytest.approx(10 / WORD_SECONDS, abs=2)


def test_a_resource_waits_between_two_of_its_own(clock: Clock) -> None:
    pace = Pace(clock)
    assert pace.due(key("a", 0)) == 0.0
    pace.wrote(key("a", 0))
    assert pace.due(key("a", 0)) == pytest.approx(STATUS_SECONDS)
    pace.forget(key("a", 0))
    assert pace.due(key("a", 0)) == pytest.approx(WORD_SECONDS)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.sampled_from(["due", "wrote", "forget", "wait"])))
)
def test_whatever_is_asked_every_turn_comes(asked: list[tuple[str, int, str]]) -> None:
    clock = Clock()
    pace = Pace(clock)
    for namespace, number, what in asked:
        if what == "wait":
            clock.now += number
        elif what == "due":
            wait = pace.due(key(namespace, number))
            assert 0 <= wait <= STATUS_SECONDS + len(asked) * 3 * WORD_SECONDS
        else:
            (pace.wrote if what == "wrote" else pace.forget)(key(namespace, number))
    for namespace in "abc":
        for number in range(5):
            pace.forget(key(namespace, number))
    assert not pace._turns and not pace._waiting and not pace._told
