"""Round: one life of kopf, in a thread with an event loop of its own (custom.py says why)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Collection

import uvloop

STOP_SECONDS = 5.0
CANCELS = 10


class Round:
    """It ends with the first of its tasks that ends, and all others are cancelled then."""

    def __init__(self, spawn: Callable[[], Awaitable[Collection[asyncio.Task[None]]]]) -> None:
        """spawn: starts the tasks, in the thread's event loop."""
        self._spawn = spawn
        self._engine = asyncio.get_running_loop()
        self._loop = uvloop.new_event_loop()
        self._stop = self._loop.create_future()
        self._ended: asyncio.Future[Exception] = self._engine.create_future()

    @property
    def ended(self) -> bool:
        """Whether it is over; its tasks may still be on their way out."""
        return self._ended.done()

    def stop(self, cause: Exception) -> None:
        """End it, for that cause."""
        self._say(cause)
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.cancel)

    async def run(self) -> Exception:
        """Until it ends by itself, or is cancelled. Returns what it ended by."""
        # A daemon: the process may end though kopf does not.
        thread = threading.Thread(target=self._live, name="kopf", daemon=True)
        thread.start()
        try:
            return await self._ended
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.cancel)
            await asyncio.to_thread(thread.join, STOP_SECONDS)
            raise

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            try:
                error = self._loop.run_until_complete(self._until_one_ends())
            except Exception as unexpected:
                error = unexpected
            self._engine.call_soon_threadsafe(self._say, error)
            self._loop.run_until_complete(_cancel_all())
        finally:
            self._loop.close()

    async def _until_one_ends(self) -> Exception:
        tasks = await self._spawn()
        done, _ = await asyncio.wait([self._stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        errors = [task.exception() for task in done if not task.cancelled()]
        return next((error for error in errors if isinstance(error, Exception)), RuntimeError("kopf ended"))

    def _say(self, error: Exception) -> None:
        if not self._ended.done():
            self._ended.set_result(error)


async def _cancel_all() -> None:
    """Cancel every other task of the running event loop. Again and again: a kopf watch that is cancelled together with
    what would pause it takes the one for the other, and goes on."""
    for _ in range(CANCELS):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=STOP_SECONDS / CANCELS)
