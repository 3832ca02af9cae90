"""What is known of a watch from the requests of whoever keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from kaon.engine import requests
from kaon.engine.requests import Requests
from kaon.engine.resources import RESOURCES

DATASET = RESOURCES["Dataset"]


def followed(work: Callable[[aiohttp.ClientSession, str, Requests], Awaitable[None]]) -> list[str]:
    """What is told while `work` sends requests to a server that answers lists and watches, and 404 in scope `gone`."""
    told: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/gone/" in request.path:
            raise web.HTTPNotFound
        return web.json_response({"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"spec": {}}]})

    async def main() -> None:
        application = web.Application()
        application.router.add_get("/{rest:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        seen = Requests(DATASET, ("a", "gone"), lambda what, scope: told.append(f"{what} {scope}"))
        answers = seen.response_class()
        async with aiohttp.ClientSession(trace_configs=[seen.trace()], response_class=answers) as session:
            await work(session, url, seen)
        await runner.cleanup()

    asyncio.run(main())
    return told


def test_a_list_and_a_watch_are_told_when_they_are_answered() -> None:
    async def work(session: aiohttp.ClientSession, url: str, seen: Requests) -> None:
        await session.get(url + DATASET.path("a"))
        await session.get(url + DATASET.path("a") + "?watch=true")
        await session.get(url + DATASET.path("a") + "?watch=true")

    assert followed(work) == ["list a", "watch a", "lost a", "watch a"]


def test_whoever_lists_gets_the_version_and_no_object() -> None:
    async def work(session: aiohttp.ClientSession, url: str, seen: Requests) -> None:
        answer = await session.get(url + DATASET.path("a"))
        assert await answer.json() == {"metadata": {"resourceVersion": "7"}, "items": []}
        other = await session.get(url + RESOURCES["Job"].path("a"))
        assert len((await other.json())["items"]) == 1

    followed(work)


def test_what_is_refused_or_about_something_else_is_no_watch() -> None:
    async def work(session: aiohttp.ClientSession, url: str, seen: Requests) -> None:
        await session.get(url + DATASET.path("gone") + "?watch=true")
        await session.get(url + DATASET.root)
        await session.get(url + RESOURCES["Job"].path("a") + "?watch=true")

    assert followed(work) == []


def test_it_is_stuck_when_it_asks_nothing_while_a_scope_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        seconds = 100.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.seconds

    monkeypatch.setattr(requests, "time", Clock)

    async def work(session: aiohttp.ClientSession, url: str, seen: Requests) -> None:
        await session.get(url + DATASET.path("a") + "?watch=true")
        Clock.seconds += 3
        assert seen.stuck_for() == 3
        seen._open.add("gone")
        assert seen.stuck_for() == 0

    followed(work)
