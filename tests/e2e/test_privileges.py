"""The chart gives what the code needs: nothing was refused while the other end-to-end tests ran, and all was used.

Runs last (conftest.py puts it there), since it reads the API server's audit log of all the others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installation import NAMESPACES, SYSTEM, Installation
from rights import NEEDED_THOUGH_UNUSED, Event, Right, Rule, account_of, excess, granted, refusals, used

NAMESPACE = NAMESPACES[0]
HERE = Path(__file__).parent
OPERATOR = f"{SYSTEM}/kaon-operator"
STORE = f"{SYSTEM}/kaon-store"
JOBS = "kaon-job"
"""In every namespace with stages."""


@pytest.fixture(scope="module")
def events(kaon: Installation) -> list[Event]:
    """The audit log of this installation, from the moment when its namespace was made."""
    namespace = json.loads(kaon.kube("get", "namespace", SYSTEM, "-o", "json"))
    since = namespace["metadata"]["creationTimestamp"]
    return [event for event in kaon.cluster.audited() if event["requestReceivedTimestamp"] >= since]


@pytest.fixture
def whole_suite(request: pytest.FixtureRequest) -> None:
    """Only all tests together use all rights."""
    ran = {item.path for item in request.session.items}
    missing = sorted(path.name for path in set(HERE.glob("test_*.py")) - ran)
    assert not missing, f"run all end-to-end tests (pytest tests/e2e): what {', '.join(missing)} use is not known"


def rules(kaon: Installation, kind: str, name: str, namespace: str = "") -> list[Rule]:
    """The rules of a Role or ClusterRole as they are in the cluster."""
    where = ("-n", namespace) if namespace else ()
    found: list[Rule] = json.loads(kaon.kube("get", kind, name, *where, "-o", "json"))["rules"]
    return found


def test_no_account_of_kaon_was_refused_anything(events: list[Event]) -> None:
    accounts = {account_of(event) for event in events}
    assert {OPERATOR, STORE} <= accounts and any(account.endswith(f"/{JOBS}") for account in accounts)
    ours = {OPERATOR, STORE, *(account for account in accounts if account.endswith(f"/{JOBS}"))}
    assert sorted(map(str, refusals(events, ours))) == []


def test_the_operator_uses_every_right_that_it_has(kaon: Installation, events: list[Event], whole_suite: None) -> None:
    given = granted(rules(kaon, "clusterrole", "kaon-operator"))
    given |= granted(rules(kaon, "role", "kaon-operator-lease", SYSTEM))
    assert excess(given, used(events, OPERATOR)) == []


def test_a_stages_pod_uses_every_right_that_it_has(kaon: Installation, events: list[Event], whole_suite: None) -> None:
    accounts = {account_of(event) for event in events if account_of(event).endswith(f"/{JOBS}")}
    uses = set().union(*(used(events, account) for account in accounts))
    assert excess(granted(rules(kaon, "clusterrole", JOBS)), uses) == []


def test_the_store_uses_every_right_that_it_has(kaon: Installation, events: list[Event]) -> None:
    given = granted(rules(kaon, "role", "kaon-store", SYSTEM))
    # Asked only when the keys or the certificate are new, which tests/cluster/chart tries.
    changes = {Right("", "secrets", "update", name) for name in ("kaon-store", "kaon-store-root")}
    assert changes <= given
    assert excess(given - changes, used(events, STORE)) == []


def test_every_exception_is_a_right_that_is_given(kaon: Installation) -> None:
    given = granted(rules(kaon, "clusterrole", "kaon-operator"))
    assert [str(right) for reason in NEEDED_THOUGH_UNUSED.values() for right in reason if right not in given] == []
