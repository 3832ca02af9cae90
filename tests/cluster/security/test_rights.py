"""Rights used, unused and refused, read from audit lines of a real API server; and the audit of these tests themselves.

audit.jsonl holds lines that a control plane wrote of the operator, and of somebody who held its token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile.world import SYSTEM, World
from rights import NEEDED_THOUGH_UNUSED, Event, Right, excess, granted, refusals, unused, used

OPERATOR = f"{SYSTEM}/kaon-operator"


@pytest.fixture
def recorded() -> list[Event]:
    """The lines as they were written."""
    return [json.loads(line) for line in Path(__file__).with_name("audit.jsonl").read_text().splitlines()]


def without_names(rights: set[Right]) -> set[tuple[str, str, str]]:
    return {(right.group, right.resource, right.verb) for right in rights}


def test_what_was_asked_for_counts_as_used_and_what_was_refused_does_not(recorded: list[Event]) -> None:
    assert without_names(used(recorded, OPERATOR)) == {
        ("batch", "jobs", "create"),
        ("", "services", "patch"),
        ("", "services", "create"),  # the apply that made it
        ("", "pods", "list"),
        ("", "pods", "watch"),
        ("coordination.k8s.io", "leases", "update"),
        ("kaon.dev", "datasets/status", "update"),
    }


def test_a_refusal_says_who_what_and_where(recorded: list[Event]) -> None:
    said = [str(refusal) for refusal in refusals(recorded, [OPERATOR])]
    assert said == [f"{OPERATOR} may not list secrets in flood"]
    assert refusals(recorded, ["another/account"]) == set()


def test_nobody_else_uses_the_operators_rights(recorded: list[Event]) -> None:
    assert used(recorded, f"{SYSTEM}/kaon-store") == set()


def test_rules_are_taken_apart_and_compared_with_the_names_that_they_are_for(recorded: list[Event]) -> None:
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    rules = [
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list", "watch"]},
        {**leases, "resourceNames": ["kaon-operator"], "verbs": ["get", "update"]},
        {**leases, "resourceNames": ["another"], "verbs": ["update"]},
    ]
    given = granted(rules)
    assert len(given) == 7
    left = {str(right) for right in unused(given, used(recorded, OPERATOR))}
    assert left == {
        "list services",
        "watch services",
        "get leases.coordination.k8s.io 'kaon-operator'",
        "update leases.coordination.k8s.io 'another'",
    }


def test_a_right_with_a_reason_is_no_excess() -> None:
    (reasoned, *_), *_ = NEEDED_THOUGH_UNUSED.values()
    assert excess({reasoned, Right("", "secrets", "get")}, set()) == ["get secrets"]


def test_nothing_was_refused_to_the_operator_while_all_of_this_was_tried(chart_world: World, operator: Any) -> None:
    """Runs after the attempts of the other files, whose audit this is."""
    events = list(chart_world.cluster.audited())
    uses = used(events, OPERATOR)
    assert ("batch", "jobs", "create") in without_names(uses)
    assert sorted(map(str, refusals(events, [OPERATOR]))) == []


def test_every_exception_is_a_right_that_the_chart_gives(chart_world: World) -> None:
    rules = json.loads(chart_world.kubectl("get", "clusterrole", "kaon-operator", "-o", "json"))["rules"]
    given = granted(rules)
    assert [str(right) for reason in NEEDED_THOUGH_UNUSED.values() for right in reason if right not in given] == []
