"""HTTP for probes and for Prometheus: /healthz, /readyz and /metrics. Reads state, changes none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import generate_latest

from kaon.engine import metrics

OLDEST_SECONDS = 60.0
"""A ready key that waits longer than this means that no worker takes keys any more."""
LAG_SECONDS = 10.0
LAG_PERIOD = 1.0


class LoopLag:
    """How late the event loop wakes a sleeper: what a blocking call anywhere in the process shows in."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def measure(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_PERIOD)
            self.seconds = max(0.0, loop.time() - before - LAG_PERIOD)


class Health:
    """The two servers. `ready` and `alive` say why not, or nothing."""

    def __init__(self, ready: Callable[[], str], alive: Callable[[], str], update: Callable[[], None]) -> None:
        self._ready, self._alive, self._update = ready, alive, update
        self._runners: list[web.AppRunner] = []

    async def start(self, health_port: int, metrics_port: int) -> None:
        """Listen. Port 0 turns a server off.

        Raises:
            OSError: a port is taken.
        """
        probes = [web.get("/healthz", self._answer(self._alive)), web.get("/readyz", self._answer(self._ready))]
        for port, routes in ((health_port, probes), (metrics_port, [web.get("/metrics", self._metrics)])):
            if port:
                application = web.Application()
                application.add_routes(routes)
                runner = web.AppRunner(application, access_log=None)
                await runner.setup()
                self._runners.append(runner)
                await web.TCPSite(runner, None, port).start()

    async def stop(self) -> None:
        """Close the ports."""
        for runner in self._runners:
            await runner.cleanup()

    @staticmethod
    def _answer(why_not: Callable[[], str]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            problem = why_not()
            return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

        return answer

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        self._update()
        return web.Response(
            body=generate_latest(metrics.REGISTRY), headers={"Content-Type": "text/plain; version=0.0.4"}
        )
