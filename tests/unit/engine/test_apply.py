"""When a status is written: at once when it has news, otherwise not more often than people look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kaon.controllers.base import Controller, Object, Plan
from kaon.engine import apply
from kaon.engine.apply import STATUS_SECONDS, Applier
from kaon.engine.cache import Cache


class Server:
    """An API server that takes every status."""

    async def replace(self, path: str, body: Object) -> Object:
        return {**body, "metadata": {**body["metadata"], "uid": "uid", "resourceVersion": "2"}}


def status(message: str = "", ready: str = "False", generation: int = 1) -> Object:
    return {"phase": message, "observedGeneration": generation, "conditions": [{"type": "Ready", "status": ready}]}


def dataset(found: Object) -> Object:
    metadata = {"name": "a", "namespace": "ns", "uid": "uid", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "kaon.dev/v1alpha1", "kind": "Dataset", "metadata": metadata, "status": found}


@pytest.fixture
def applier() -> Applier:
    """One that has just written a status."""
    server: Any = Server()
    controller = Controller("Dataset", lambda observed: Plan((), {}), lambda obj: frozenset())
    made = Applier(server, Cache({"Dataset": controller}, lambda key: None))
    assert made.status_due(dataset({}), status("queued")) == 0.0
    asyncio.run(made.status(dataset({}), 1, status("queued")))
    return made


def test_progress_waits_for_its_time(applier: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = applier.status_due(dataset(status("queued")), status("running"))
    assert wait is not None and 0 < wait <= STATUS_SECONDS
    now = apply.time.monotonic()
    monkeypatch.setattr(apply.time, "monotonic", lambda: now + STATUS_SECONDS)
    assert applier.status_due(dataset(status("queued")), status("running")) == 0.0


@pytest.mark.parametrize("news", [status("queued", ready="True"), status("queued", generation=2)])
def test_news_does_not_wait(applier: Applier, news: Object) -> None:
    assert applier.status_due(dataset(status("queued")), news) == 0.0


def test_what_is_there_already_is_not_written(applier: Applier) -> None:
    assert applier.status_due(dataset(status("queued")), status("queued")) is None


def reconciling(status: str) -> Object:
    return {"observedGeneration": 1, "conditions": [{"type": "Reconciling", "status": status, "observedGeneration": 1}]}


def test_first_words_may_be_held_back_for_a_while(applier: Applier, monkeypatch: pytest.MonkeyPatch) -> None:
    assert applier.hold(dataset({}), reconciling("True"))
    now = apply.time.monotonic()
    monkeypatch.setattr(apply.time, "monotonic", lambda: now + apply.HOLD_SECONDS)
    assert not applier.hold(dataset({}), reconciling("True"))


def test_what_is_reached_and_what_was_said_before_is_not_held_back(applier: Applier) -> None:
    assert not applier.hold(dataset({}), reconciling("False"))
    assert not applier.hold(dataset(reconciling("False")), reconciling("True"))
