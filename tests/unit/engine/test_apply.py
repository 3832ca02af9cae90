"""When a status is written: at once when it has news, otherwise not more often than people look."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from kaon.controllers.base import Child, Controller, Object, Plan
from kaon.engine.apply import Applier
from kaon.engine.cache import Cache
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.pace import STATUS_SECONDS, WORD_SECONDS
from kaon.resources.egress import stage_network_policy
from kaon.resources.podpolicy import Egress


class Server:
    """An API server that takes every status."""

    async def replace(self, path: str, body: Object) -> Object:
        return {**body, "metadata": {**body["metadata"], "uid": "uid", "resourceVersion": "2"}}


def status(message: str = "", ready: str = "False", generation: int = 1) -> Object:
    return {"phase": message, "observedGeneration": generation, "conditions": [{"type": "Ready", "status": ready}]}


def dataset(found: Object, name: str = "a") -> Object:
    metadata = {"name": name, "namespace": "ns", "uid": "uid", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "kaon.dev/v1alpha1", "kind": "Dataset", "metadata": metadata, "status": found}


@pytest.fixture
def applier() -> Applier:
    """One that has just written a status."""
    server: Any = Server()
    controller = Controller("Dataset", lambda observed: Plan((), {}), lambda obj: frozenset())
    made = Applier(server, Cache({"Dataset": controller}, lambda key: None), OwnWrites(lambda key: None))
    assert made.status_due(dataset({}), status("queued")) == 0.0
    asyncio.run(made.status(dataset({}), 1, status("queued")))
    return made


def test_progress_waits_for_its_time(applier: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = applier.status_due(dataset(status("queued")), status("running"))
    assert wait is not None and 0 < wait <= STATUS_SECONDS
    now = time.monotonic()
    monkeypatch.setattr(applier._pace, "_clock", lambda: now + STATUS_SECONDS)
    assert applier.status_due(dataset(status("queued")), status("running")) == 0.0


@pytest.mark.parametrize("news", [status("queued", ready="True"), status("queued", generation=2)])
def test_news_does_not_wait(applier: Applier, news: Object) -> None:
    assert applier.status_due(dataset(status("queued")), news) == 0.0


def test_what_is_there_already_is_not_written(applier: Applier) -> None:
    assert applier.status_due(dataset(status("queued")), status("queued")) is None


def reconciling(status: str) -> Object:
    return {"observedGeneration": 1, "conditions": [{"type": "Reconciling", "status": status, "observedGeneration": 1}]}


def test_first_words_of_a_crowd_take_turns(applier: Applier) -> None:
    waits = [applier.status_due(dataset({}, f"a-{number}"), reconciling("True")) for number in range(50)]
    assert waits[0] is not None and waits[0] <= WORD_SECONDS
    assert waits[-1] == pytest.approx(49 * WORD_SECONDS, abs=2 * WORD_SECONDS)


def test_a_resource_keeps_its_turn(applier: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        applier.status_due(dataset({}, f"a-{number}"), reconciling("True"))
    now = time.monotonic()
    monkeypatch.setattr(applier._pace, "_clock", lambda: now + 30 * WORD_SECONDS)
    assert applier.status_due(dataset({}, "a-20"), reconciling("True")) == 0.0
    assert applier.status_due(dataset({}, "a-49"), reconciling("True")) != 0.0


def test_turns_that_news_made_unneeded_are_given_back(applier: Applier) -> None:
    crowd = [dataset({}, f"a-{number}") for number in range(50)]
    for obj in crowd:
        applier.status_due(obj, reconciling("True"))
    for obj in crowd:
        assert applier.status_due(obj, reconciling("False")) == 0.0
        asyncio.run(applier.status(obj, 1, reconciling("False")))
    wait = applier.status_due(dataset({}, "late"), reconciling("True"))
    assert wait is not None and wait <= 2 * WORD_SECONDS


def test_what_is_reached_at_once_is_news(applier: Applier) -> None:
    for number in range(50):
        applier.status_due(dataset({}, f"a-{number}"), reconciling("True"))
    assert applier.status_due(dataset({}, "reached"), reconciling("False")) == 0.0


class Applying(Server):
    """One that also applies, and counts how often."""

    def __init__(self) -> None:
        self.applied = 0

    async def apply(self, path: str, manifest: Object) -> Object:
        self.applied += 1
        metadata = {**manifest["metadata"], "uid": "uid", "resourceVersion": str(10 * self.applied)}
        return {**manifest, "metadata": metadata}


def test_what_resources_share_is_compared_again_only_when_it_or_the_plan_has_changed() -> None:
    server: Any = Applying()
    controller = Controller("Dataset", lambda observed: Plan((), {}), lambda obj: frozenset())
    cache = Cache({"Dataset": controller}, lambda key: None)
    made = Applier(server, cache, OwnWrites(lambda key: None))
    policy, other = (stage_network_policy("ns", Egress(store_ports=ports))[0] for ports in ((443,), (9000,)))

    def apply(child: Child) -> int:
        asyncio.run(made.children(dataset({}), Plan((child,), {})))
        return int(server.applied)

    assert [apply(policy) for _ in range(3)] == [1, 1, 1]
    assert policy is stage_network_policy("ns", Egress(store_ports=(443,)))[0], "one manifest for all of a namespace"
    assert [apply(other), apply(other)] == [2, 2]
    metadata = {**other.manifest["metadata"], "uid": "uid", "resourceVersion": "99"}
    cache.put({**other.manifest, "metadata": metadata, "spec": {**other.manifest["spec"], "egress": []}})
    assert [apply(other), apply(other)] == [3, 3], "somebody's edit is put right, once"
