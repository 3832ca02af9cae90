"""JobSide: writes the Reports that the pods of Kaon's Jobs would write, for pods that only pretend to run.

A real pod patches the status of the Report with its Job's name (images/jobs/kaon_jobs/report/reporter.py): an empty
patch reads it, which tells what to do, and a stage that takes about a second sends one more, unless there is a result
already. So does this. As a process: python -m simulation.jobside --kubeconfig FILE.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import orjson

from simulation.client import MERGE, Client, Object, Refused
from simulation.results import finished

log = logging.getLogger("simulation.jobside")

SELECTOR = "app.kubernetes.io/managed-by=kaon,batch.kubernetes.io/job-name"
RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""For how long a Report that cannot be written is tried again."""
_PASSING = frozenset({404, 408, 409, 429})

Outcome = Callable[[Object, Object], Object]
"""(pod, its Report) -> what is merged into the Report's status."""


def succeeds(pod: Object, report: Object) -> Object:
    """The outcome of a pod whose stage went well."""
    return finished(orjson.loads(report["spec"]["job"]), pod["metadata"]["name"])


class JobSide:
    """Reports once for each pod that runs, `after_seconds` after it was seen to.

    `await run()` in an event loop, or use it as a context manager, which runs it in a thread of its own.
    """

    def __init__(
        self,
        kubeconfig: Path,
        *,
        after_seconds: float,
        namespace: str | None = None,
        outcome: Outcome | None = None,
        on_watching: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_watching` is called once, when no pod can be missed any more."""
        self.delivered = 0
        self.undelivered: list[str] = []
        """Reports that could not be written, with the reason."""
        self._kubeconfig = kubeconfig
        self._after = after_seconds
        self._outcome = outcome or succeeds
        self._on_watching = on_watching
        self._pods = f"/api/v1/{f'namespaces/{namespace}/' if namespace else ''}pods"
        self._seen: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching = threading.Event()
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Watch and report until cancelled."""
        async with Client(self._kubeconfig, "simulation-jobside") as client:
            while True:
                try:
                    await self._follow(client)
                except (aiohttp.ClientError, OSError, TimeoutError, Refused) as error:
                    log.info("the watch of pods broke off: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)

    def __enter__(self) -> JobSide:
        self._thread = threading.Thread(target=self._in_thread, name="jobside")
        self._thread.start()
        self._watching.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._stop()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _in_thread(self) -> None:
        async def until_stopped() -> None:
            loop = asyncio.get_running_loop()
            work = asyncio.ensure_future(self.run())
            self._stop = lambda: loop.call_soon_threadsafe(work.cancel)
            await asyncio.wait([work])
            if not work.cancelled():
                self._failure = work.exception()

        asyncio.run(until_stopped())
        self._watching.set()

    async def _follow(self, client: Client) -> None:
        """One list, then its watch until that ends."""
        query = {"labelSelector": SELECTOR, "fieldSelector": "status.phase!=Pending"}
        pods, version = await client.listing(self._pods, **query)
        for pod in pods:
            # A pod that had ended before anybody watched has told its result to whoever was here then.
            if not self._watching.is_set() and pod["status"]["phase"] != "Running":
                self._seen.add(pod["metadata"]["uid"])
            self._take(client, pod)
        if not self._watching.is_set():
            self._watching.set()
            self._on_watching()
        async for kind, pod in client.watch(self._pods, version, **query):
            if kind == "ERROR":
                raise Refused("WATCH", self._pods, pod.get("code", 0), pod.get("message", ""))
            if kind in ("ADDED", "MODIFIED"):
                self._take(client, pod)

    def _take(self, client: Client, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._seen and pod["status"]["phase"] in ("Running", "Succeeded"):
            self._seen.add(uid)
            task = asyncio.create_task(self._report(client, pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _report(self, client: Client, pod: Object) -> None:
        await asyncio.sleep(self._after)
        meta = pod["metadata"]
        name = meta["labels"]["batch.kubernetes.io/job-name"]
        path = f"/apis/kaon.dev/v1alpha1/namespaces/{meta['namespace']}/reports/{name}/status"
        try:
            await self._deliver(client, path, pod)
            self.delivered += 1
        except Exception as error:
            log.exception("no report for pod %s", meta["name"])
            self.undelivered.append(f"{path}: {error}")

    async def _deliver(self, client: Client, path: str, pod: Object) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            try:
                found = await client.request("PATCH", path, {}, MERGE)
                if not found.get("status", {}).get("result"):
                    known = {"resourceVersion": found["metadata"]["resourceVersion"]}
                    told = {"status": self._outcome(pod, found), "metadata": known}
                    await client.request("PATCH", path, told, MERGE)
                return
            except (aiohttp.ClientError, OSError, TimeoutError, Refused) as error:
                passing = not isinstance(error, Refused) or error.status in _PASSING or error.status >= 500
                if not passing or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def main() -> None:
    """Run until a signal. Prints "watching" when no pod can be missed any more."""
    parser = argparse.ArgumentParser("simulation.jobside", description="Writes the Reports of simulated pods.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--after", type=float, default=0.5, help="seconds from a pod's start to its report")
    parser.add_argument("--namespace", help="default: all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    side = JobSide(
        options.kubeconfig,
        after_seconds=options.after,
        namespace=options.namespace,
        on_watching=lambda: print("watching", flush=True),
    )
    try:
        asyncio.run(side.run())
    except KeyboardInterrupt:
        log.info("%d reports delivered, %d not", side.delivered, len(side.undelivered))


if __name__ == "__main__":
    main()
