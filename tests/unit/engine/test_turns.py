"""Turns: one at a time, every one in the end, and the namespaces one after the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaon.controllers.base import Key
from kaon.engine.turns import Turns


def key(namespace: str, name: str) -> Key:
    return Key("Dataset", namespace, name)


def test_one_has_the_turn_and_the_next_is_told_when_it_is_over() -> None:
    turns = Turns(1)
    assert turns.take(key("a", "1"))
    assert not turns.take(key("a", "2"))
    assert turns.following() is None, "the turn is not over"
    turns.give()
    assert turns.following() == key("a", "2")
    assert turns.following() is None
    assert turns.take(key("a", "2"))


def test_a_namespace_with_many_does_not_keep_another_waiting() -> None:
    turns = Turns(1)
    assert turns.take(key("a", "0"))
    for name in ("1", "2", "3"):
        assert not turns.take(key("a", name))
    assert not turns.take(key("b", "1"))
    turns.give()
    assert [turns.following() for _ in range(5)] == [
        *(key("a", "1"), key("b", "1"), key("a", "2"), key("a", "3")),
        None,
    ]


def test_as_many_have_a_turn_as_there_are_and_the_others_are_counted() -> None:
    turns = Turns(2)
    assert turns.take(key("a", "1")) and turns.take(key("a", "2"))
    assert not turns.take(key("a", "3")) and not turns.take(key("b", "1")) and not turns.take(key("b", "1"))
    assert len(turns) == 2
    turns.give()
    assert turns.following() == key("a", "3") and len(turns) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30))
def test_whoever_waits_has_its_turn_in_the_end(asked: list[tuple[str, int]]) -> None:
    turns, served = Turns(1), set()
    keys = [key(namespace, str(number)) for namespace, number in asked]
    for one in keys:
        if turns.take(one):
            served.add(one)  # and keeps it while the others ask
    turns.give()
    while (one := turns.following()) is not None:
        assert turns.take(one)
        served.add(one)
        turns.give()
    assert served == set(keys)
