"""What conditions say of a state."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from kaon.controllers.conditions import State, conditions_of

STATES = [
    (ready, stalled, quiet)
    for ready, stalled, quiet in itertools.product([False, True], repeat=3)
    if not (ready and stalled)
]


@pytest.mark.parametrize(("ready", "stalled", "quiet"), STATES)
def test_every_condition_of_every_state_has_a_message(ready: bool, stalled: bool, quiet: bool) -> None:
    state = State("Any", "Told", "What is the matter.", ready=ready, stalled=stalled, quiet=quiet)
    found = conditions_of(state, {}, 1, datetime(2026, 1, 1, tzinfo=UTC))
    assert [item["type"] for item in found] == ["Ready", "Reconciling", "Stalled"]
    assert all(item["message"] for item in found), found
