"""The work queue's promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from kaon.controllers.base import Key
from kaon.engine.queue import BACKOFF_MAX, WorkQueue, backoff

A, B = Key("Dataset", "ns", "a"), Key("Dataset", "ns", "b")


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await work()

    asyncio.run(main())


def test_a_key_that_is_added_twice_is_given_out_once() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        queue.add(A)
        queue.add(A)
        assert await queue.get() == A
        assert len(queue) == 0

    run(work)


def test_keys_come_out_in_the_order_in_which_they_went_in() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        queue.add(B)
        queue.add(A)
        assert [await queue.get(), await queue.get()] == [B, A]

    run(work)


def test_a_key_that_is_added_while_worked_on_waits_until_that_is_done_and_then_runs_again() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        queue.add(A)
        await queue.get()
        queue.add(A)
        assert len(queue) == 0
        queue.done(A)
        assert await queue.get() == A

    run(work)


def test_a_key_rests_after_its_work_so_that_a_burst_of_events_is_one_run() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        queue = WorkQueue(rest=0.05)
        queue.add(A)
        await queue.get()
        queue.done(A)
        began = loop.time()
        for _ in range(10):
            queue.add(A)
        assert await queue.get() == A
        assert loop.time() - began >= 0.04
        assert len(queue) == 0

    run(work)


def test_a_key_comes_back_after_the_asked_time_and_a_later_wish_replaces_an_earlier_one() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        queue.add(A)
        await queue.get()
        queue.done(A, again_after=0.02)
        assert await queue.get() == A
        queue.done(A, again_after=0.02)
        queue.add(A)
        await asyncio.sleep(0)
        await queue.get()
        queue.done(A)
        await asyncio.sleep(0.05)
        assert len(queue) == 0

    run(work)


def test_failures_wait_longer_each_time_and_success_forgets_them() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        delays = []
        for _ in range(4):
            queue.add(A)
            await queue.get()
            delays.append(queue.failed(A))
            await asyncio.sleep(0.001)
        assert delays[3] > delays[0]
        queue.add(A)
        await queue.get()
        queue.done(A)
        await asyncio.sleep(0.001)
        queue.add(A)
        await queue.get()
        assert queue.failed(A) <= 0.5

    run(work)


def test_the_servers_retry_after_is_honoured() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        queue.add(A)
        await queue.get()
        assert queue.failed(A, at_least=30) == 30

    run(work)


def test_a_forgotten_key_does_not_come_back_by_its_timer() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        queue.add(A)
        await queue.get()
        queue.done(A, again_after=0.01)
        queue.forget(A)
        await asyncio.sleep(0.05)
        assert len(queue) == 0

    run(work)


def test_the_oldest_key_is_known_by_its_age() -> None:
    async def work() -> None:
        queue = WorkQueue()
        assert queue.oldest() == 0
        queue.add(A)
        await asyncio.sleep(0.02)
        queue.add(B)
        assert queue.oldest() >= 0.015

    run(work)


def test_many_workers_never_hold_one_key_at_the_same_time_and_every_change_is_seen() -> None:
    async def work() -> None:
        queue = WorkQueue(rest=0)
        held: set[Key] = set()
        wanted: dict[Key, int] = dict.fromkeys((A, B), 0)
        seen: dict[Key, int] = dict.fromkeys((A, B), 0)

        async def worker() -> None:
            while True:
                key = await queue.get()
                assert key not in held
                held.add(key)
                seen[key] = wanted[key]
                await asyncio.sleep(0.001)
                held.remove(key)
                queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(4)]
        for _ in range(200):
            for key in (A, B):
                wanted[key] += 1
                queue.add(key)
            await asyncio.sleep(0.0003)
        await asyncio.sleep(0.05)
        assert seen == wanted
        for task in workers:
            assert not task.done()
            task.cancel()

    run(work)


@given(st.integers(min_value=1, max_value=10_000), st.floats(min_value=0, max_value=1))
def test_backoff_grows_is_bounded_and_at_least_half_of_its_ceiling(failures: int, chance: float) -> None:
    delay = backoff(failures, lambda: chance)
    assert 0 < delay <= BACKOFF_MAX
    assert delay >= backoff(failures, lambda: 1.0) / 2
    assert backoff(failures + 1, lambda: chance) >= delay
