"""The observer, a process of its own: when was each resource, its Job and its pod seen to come this far?

Watches, and writes down the first moment of each kind for each run, by its own monotonic clock, until all runs are
complete. Prints "watching" when nothing can be missed any more, and writes JSON at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson

from simulation.client import Client, Object, Refused

CREATED, JOB, ENDED, TOLD = "created", "job", "ended", "told"
COMPLETE, JOB_COMPLETE = "complete", "jobComplete"


@dataclass(frozen=True)
class Watched:
    """What belongs to a run, and how it is told that it is complete."""

    resources: str
    """Path of the collection of resources, e.g. /apis/kaon.dev/v1alpha1/namespaces/x/trainingruns."""
    condition: str
    """The condition that is True when a resource is complete."""
    namespace: str
    owner_label: str | None
    """The label of Jobs and pods with the resource's name; None: the resource is the Job."""
    reports: bool = False
    """Whether Kaon's Reports are watched for the moment in which a result was told."""
    jobs: bool = True
    """Whether a run is complete only when its Job is too."""


@dataclass
class Seen:
    """The first moments by run, and every Job."""

    moments: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    jobs: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def note(self, owner: str, moment: str) -> None:
        self.moments[owner].setdefault(moment, time.monotonic())


class Observer:
    """Follows `expected` runs."""

    def __init__(self, client: Client, watched: Watched, expected: int) -> None:
        self.seen = Seen()
        self._client, self._watched, self._expected = client, watched, expected
        self._done = asyncio.Event()
        self._wanted = {COMPLETE}
        self._wanted |= {JOB, ENDED, JOB_COMPLETE} if watched.jobs else set()
        self._wanted |= {TOLD} if watched.reports else set()
        self._finished: set[str] = set()

    async def run(self, watching: Callable[[], None]) -> None:
        """Until all runs are complete."""
        namespace, watched = self._watched.namespace, self._watched
        follow: dict[str, Callable[[Object], None]] = {watched.resources: self._resource}
        if watched.jobs:
            jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
            follow[jobs] = self._bare_job if watched.owner_label is None else self._job
            follow[f"/api/v1/namespaces/{namespace}/pods"] = self._pod
        if watched.reports:
            follow[f"/apis/kaon.dev/v1alpha1/namespaces/{namespace}/reports"] = self._report
        versions = {path: (await self._client.listing(path))[1] for path in follow}
        tasks = [asyncio.create_task(self._follow(path, versions[path], take)) for path, take in follow.items()]
        done = asyncio.create_task(self._done.wait())
        watching()
        ended, _ = await asyncio.wait([done, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in [done, *tasks]:
            task.cancel()
        for task in ended:
            task.result()

    def counts(self) -> dict[str, int]:
        """How many runs came how far."""
        return dict(Counter(moment for run in self.seen.moments.values() for moment in run))

    async def _follow(self, path: str, version: str, take: Callable[[Object], None]) -> None:
        while True:
            try:
                async for kind, obj in self._client.watch(path, version):
                    if kind == "ERROR":
                        raise RuntimeError(f"the watch of {path} cannot go on: {obj}")
                    version = obj["metadata"]["resourceVersion"]
                    if kind in ("ADDED", "MODIFIED"):
                        take(obj)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.1)  # goes on from the last version: nothing is missed

    def _note(self, owner: str, moment: str) -> None:
        self.seen.note(owner, moment)
        if owner not in self._finished and self.seen.moments[owner].keys() >= self._wanted:
            self._finished.add(owner)
            if len(self._finished) >= self._expected:
                self._done.set()

    def _resource(self, obj: Object) -> None:
        name = obj["metadata"]["name"]
        self._note(name, CREATED)
        if _is_true(obj, self._watched.condition):
            self._note(name, COMPLETE)
        if _is_true(obj, "Failed") or _is_true(obj, "Stalled"):
            self.seen.failed.add(name)

    def _job(self, obj: Object) -> None:
        self.seen.jobs.add(obj["metadata"]["uid"])
        self._note(self._owner(obj), JOB)
        if _is_true(obj, "Complete"):
            self._note(self._owner(obj), JOB_COMPLETE)

    def _bare_job(self, obj: Object) -> None:
        """A Job that nobody made but the user: the resource and its Job in one."""
        self._resource(obj)
        self.seen.jobs.add(obj["metadata"]["uid"])
        name = obj["metadata"]["name"]
        self._note(name, JOB)
        if _is_true(obj, "Complete"):
            self._note(name, JOB_COMPLETE)

    def _pod(self, obj: Object) -> None:
        if obj.get("status", {}).get("phase") == "Succeeded":
            self._note(self._owner(obj), ENDED)

    def _report(self, obj: Object) -> None:
        if obj.get("status", {}).get("result"):
            self._note(self._owner(obj), TOLD)

    def _owner(self, obj: Object) -> str:
        labels = obj["metadata"].get("labels", {})
        name: str = labels[self._watched.owner_label or "batch.kubernetes.io/job-name"]
        return name


def _is_true(obj: Object, condition: str) -> bool:
    found = obj.get("status", {}).get("conditions") or []
    return any(item["type"] == condition and item["status"] == "True" for item in found)


async def observe(kubeconfig: Path, watched: Watched, expected: int, seconds: float) -> tuple[Seen, bool]:
    """What was seen, and whether all runs were complete in time."""
    async with Client(kubeconfig, "simulation-observer") as client:
        observer = Observer(client, watched, expected)
        try:
            await asyncio.wait_for(observer.run(lambda: print("watching", flush=True)), seconds)
            return observer.seen, True
        except (TimeoutError, Refused) as error:
            print(f"not all runs were complete ({error!r}); seen were {observer.counts()}", file=sys.stderr)
            return observer.seen, False


def main() -> None:
    """Observe until everything is complete; exit code 1 when that takes too long."""
    parser = argparse.ArgumentParser("simulation.observe", description="Writes down when runs come how far.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--watched", type=orjson.loads, required=True, help="the fields of Watched, as JSON")
    parser.add_argument("--expected", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    told = parser.parse_args()
    watched = Watched(**told.watched)
    seen, complete = asyncio.run(observe(told.kubeconfig, watched, told.expected, told.seconds))
    told.out.write_bytes(orjson.dumps({"runs": seen.moments, "jobs": len(seen.jobs), "failed": sorted(seen.failed)}))
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
