"""Caches against a real API server: stale views, lists that find what is gone, watches that are too old."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import pytest

from kaon.controllers.base import Child, Controller, Key, Object, Plan
from kaon.engine import watch
from kaon.engine.apply import Applier, OccupiedError, OutdatedError
from kaon.engine.cache import Cache
from kaon.engine.client import AnswerTooLargeError, ApiError, Client, WriteRefusedError
from kaon.engine.kinds import Kinds
from kaon.engine.ownwrites import OwnWrites
from kaon.engine.resources import RESOURCES
from kaon.engine.watch import SELECTOR, Lister, Watch

CONFIG_MAP = RESOURCES["ConfigMap"]
NO_CONTROLLER = Controller("Dataset", lambda observed: Plan((), {}), lambda obj: frozenset())


class Engine:
    """A client, an empty cache and what it woke."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.woken: list[Key] = []
        self.cache = Cache({"Dataset": NO_CONTROLLER}, self.woken.append)
        self.own = OwnWrites(self.woken.append, by_namespace=True)
        self.lister = Lister(client, self.cache, Kinds(), self.own, (namespace,))
        self.applier = Applier(client, self.cache, self.own)


@asynccontextmanager
async def engine(kubectl: Any, namespace: str) -> AsyncIterator[Engine]:
    with mock.patch.dict(os.environ, {"KUBECONFIG": str(kubectl.kubeconfig)}):
        client = await Client.connect()
    try:
        yield Engine(client, namespace)
    finally:
        await client.close()


async def until(look: Callable[[], Any]) -> None:
    for _ in range(400):
        if look():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 20 s")


def config_map(namespace: str, name: str = "child") -> Object:
    labels = {"app.kubernetes.io/managed-by": "kaon"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


def made(kubectl: Any, dataset: Object) -> Object:
    """A Dataset as the API server has it."""
    kubectl.apply(dataset)
    found: Object = kubectl.get("dataset", dataset["metadata"]["name"], dataset["metadata"]["namespace"])
    return found


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await work()

    asyncio.run(main())


def test_a_child_is_made_once_though_the_cache_never_saw_it(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    owner = made(kubectl, dataset())
    plan = Plan((Child(config_map(namespace), mode="create"),), {})

    async def work() -> None:
        async with engine(kubectl, namespace) as first, engine(kubectl, namespace) as blind:
            await first.applier.children(owner, plan)
            uid = kubectl.get("configmap", "child", namespace)["metadata"]["uid"]
            # What is planned after it may rest upon its absence.
            with pytest.raises(OutdatedError):
                await blind.applier.children(owner, plan)
            entry = blind.cache.entry(Key("ConfigMap", namespace, "child"))
            assert entry is not None and entry.uid == uid
            assert not await blind.applier.children(owner, plan)

    run(work)


def test_a_child_of_another_owner_is_not_taken_over_though_the_cache_never_saw_it(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    one, other = made(kubectl, dataset("one")), made(kubectl, dataset("other"))
    plan = Plan((Child(config_map(namespace), mode="create"),), {})

    async def work() -> None:
        async with engine(kubectl, namespace) as first, engine(kubectl, namespace) as blind:
            await first.applier.children(one, plan)
            with pytest.raises(OccupiedError):
                await blind.applier.children(other, plan)

    run(work)


def test_a_list_removes_what_vanished_unseen_and_wakes_its_owner(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    owner = made(kubectl, dataset())

    async def work() -> None:
        async with engine(kubectl, namespace) as seen:
            await seen.applier.children(owner, Plan((Child(config_map(namespace)),), {}))
            kubectl("delete", "configmap", "child", "-n", namespace)
            seen.woken.clear()
            await seen.lister.list(CONFIG_MAP, namespace, SELECTOR)
            assert seen.cache.keys("ConfigMap") == ()
            assert seen.woken == [Key("Dataset", namespace, "one")]

    run(work)


def test_a_watch_from_a_version_that_is_too_old_says_410_and_the_watch_lists_again(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    owner = made(kubectl, dataset())
    labels = {"app.kubernetes.io/managed-by": "kaon"}
    report: Object = {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": "Report",
        "metadata": {"name": "child", "namespace": namespace, "labels": labels},
        "spec": {"stage": "dataset", "jobName": "child", "inputDigest": f"sha256:{'0' * 64}"},
    }

    async def work() -> None:
        async with engine(kubectl, namespace) as seen:
            await seen.applier.children(owner, Plan((Child(report, mode="create"),), {}))
            watch = Watch(seen.lister, RESOURCES["Report"], namespace)
            # Version 1 is from before the CRD was there, so that no server has its history.
            with pytest.raises(ApiError) as too_old:
                await watch._follow("1")
            assert too_old.value.status == 410
            kubectl("delete", "report", "child", "-n", namespace)
            true_list, lists = seen.lister.list, 0

            async def first_list_with_an_old_version(*args: Any) -> str:
                nonlocal lists
                lists += 1
                return "1" if lists == 1 else await true_list(*args)

            with mock.patch.object(seen.lister, "list", first_list_with_an_old_version):
                task = asyncio.create_task(watch.run())
                await until(lambda: not seen.cache.keys("Report"))
                task.cancel()
            assert lists == 2

    run(work)


def test_a_watch_reports_what_is_made_edited_and_deleted(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    key = Key("ConfigMap", namespace, "child")

    async def work() -> None:
        async with engine(kubectl, namespace) as seen:
            one = Watch(seen.lister, CONFIG_MAP, namespace)
            task = asyncio.create_task(one.run())
            await one.synced.wait()
            kubectl.apply(config_map(namespace))
            await until(lambda: seen.cache.entry(key))
            made = seen.cache.entry(key)
            assert made is not None
            kubectl("label", "configmap", "child", "-n", namespace, "kaon.dev/seen=yes")
            await until(lambda: (entry := seen.cache.entry(key)) and entry.mark != made.mark)
            kubectl("label", "configmap", "child", "-n", namespace, "app.kubernetes.io/managed-by-")
            await until(lambda: seen.cache.entry(key) is None)
            task.cancel()

    run(work)


def test_a_list_of_large_objects_is_read_in_parts_that_are_small(
    kubectl: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl.apply(*(config_map(namespace, f"small-{number:02}") for number in range(12)))
    large = [config_map(namespace, f"large-{number:02}") for number in range(12)]
    kubectl.apply(*({**obj, "data": {"a": "x" * 50_000}} for obj in large))
    most = 200_000
    monkeypatch.setattr(watch, "PAGE_BYTES", most)
    taken: list[int] = []
    refused: list[int] = []

    async def work() -> None:
        async with engine(kubectl, namespace) as seen:
            page = seen.client.page

            async def counted(path: str, bound: int | None, **query: Any) -> tuple[Object, int]:
                try:
                    answer, size = await page(path, bound, **query)
                except AnswerTooLargeError:
                    refused.append(query["limit"])
                    raise
                taken.append(size)
                return answer, size

            monkeypatch.setattr(seen.client, "page", counted)
            await seen.lister.list(CONFIG_MAP, namespace, SELECTOR)
            assert len(seen.cache.keys("ConfigMap")) == 24
            first = len(refused)
            await seen.lister.list(CONFIG_MAP, namespace, SELECTOR)
            assert len(refused) - first <= first, "what was learnt of their size is remembered"

    run(work)
    assert refused and max(taken) <= most and len(taken) < 40


@pytest.mark.parametrize("looks", [[False], [True, False]], ids=["before it is sent", "while it waits to be sent"])
def test_a_write_behind_the_fence_never_reaches_the_server(kubectl: Any, namespace: str, looks: list[bool]) -> None:
    async def work() -> None:
        async with engine(kubectl, namespace) as seen:
            answers = iter(looks)
            seen.client.may_write = lambda: next(answers)
            with pytest.raises(WriteRefusedError):
                await seen.client.create(CONFIG_MAP.path(namespace), config_map(namespace))
            assert kubectl.get("configmap", "child", namespace) is None

    run(work)


def test_a_status_for_a_deleted_namesake_is_refused(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    before = made(kubectl, dataset())
    kubectl("delete", "dataset", "one", "-n", namespace)
    made(kubectl, dataset())

    async def work() -> None:
        async with engine(kubectl, namespace) as stale:
            with pytest.raises(ApiError) as conflict:
                await stale.applier.status(before, int(before["metadata"]["resourceVersion"]), {"phase": "Succeeded"})
            assert conflict.value.status == 409

    run(work)
    assert "status" not in kubectl.get("dataset", "one", namespace)


def test_a_key_is_planned_again_when_the_watch_has_brought_its_last_write(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    owner = made(kubectl, dataset())
    key = Key("Dataset", namespace, "one")

    async def work() -> None:
        async with engine(kubectl, namespace) as seen:
            # What others did to objects of this kind is on its way, and so is the own write.
            kubectl.apply(config_map(namespace, "others"))
            await seen.applier.children(owner, Plan((Child(config_map(namespace)),), {}))
            assert seen.own.wait_for(key) is not None
            assert seen.cache.entry(Key("ConfigMap", namespace, "others")) is None
            task = asyncio.create_task(Watch(seen.lister, CONFIG_MAP, namespace).run())
            await until(lambda: not seen.own.waits(key))
            assert seen.cache.entry(Key("ConfigMap", namespace, "others")) is not None
            assert key in seen.woken
            # From here on the watch is there, and each write is seen within moments.
            for number in range(5):
                kubectl("delete", "configmap", "child", "-n", namespace)
                await until(lambda: seen.cache.entry(Key("ConfigMap", namespace, "child")) is None)
                labelled = config_map(namespace) | {"data": {"a": str(number)}}
                await seen.applier.children(owner, Plan((Child(labelled),), {}))
                await until(lambda: not seen.own.waits(key))
            task.cancel()

    run(work)


def test_a_write_that_changes_nothing_is_not_waited_for(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    owner = made(kubectl, dataset())
    key = Key("Dataset", namespace, "one")

    async def work() -> None:
        async with engine(kubectl, namespace) as first, engine(kubectl, namespace) as other:
            await first.applier.children(owner, Plan((Child(config_map(namespace)),), {}))
            await other.lister.list(CONFIG_MAP, namespace, SELECTOR)
            entry = Key("ConfigMap", namespace, "child")
            other.cache.drop_kind("ConfigMap")
            assert other.cache.entry(entry) is None
            await other.applier.children(owner, Plan((Child(config_map(namespace)),), {}))
            assert other.cache.entry(entry) is not None and not other.own.waits(key)

    run(work)


def test_a_value_that_the_server_writes_in_another_form_is_applied_once(
    kubectl: Any, namespace: str, dataset: Callable[..., Object]
) -> None:
    owner = made(kubectl, dataset())
    container = {
        "name": "main",
        "image": "none",
        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
        "env": [{"name": "EMPTY", "value": ""}],
    }
    labels = {"app.kubernetes.io/managed-by": "kaon", "app": "child"}
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "child", "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": "child"}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], "hostNetwork": False}},
        },
    }

    async def work() -> None:
        async with engine(kubectl, namespace) as first, engine(kubectl, namespace) as restarted:
            await first.applier.children(owner, Plan((Child(deployment),), {}))
            await restarted.lister.list(RESOURCES["Deployment"], namespace, SELECTOR)
            restarted.client.may_write = lambda: False  # any write raises
            await restarted.applier.children(owner, Plan((Child(deployment),), {}))

    run(work)
