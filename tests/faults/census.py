"""Every Job that ever was in a namespace: each digest has one, and no two of a digest live at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp
from simulation.client import Client, Object, Refused

from kaon.resources.labels import DIGEST

RETRY_SECONDS = 0.2


class JobCensus:
    """Takes in the events of a namespace's Jobs."""

    def __init__(self) -> None:
        self.created: dict[str, str] = {}
        """Name by UID."""
        self.problems: list[str] = []
        self._living: dict[str, str] = {}
        """Digest by UID."""

    def take(self, event: str, job: Object) -> None:
        """One event of a watch."""
        meta = job["metadata"]
        uid, digest = meta["uid"], meta["labels"].get(DIGEST, "none")
        self.created.setdefault(uid, meta["name"])
        if event == "DELETED" or _ended(job):
            self._living.pop(uid, None)
            return
        others = [self.created[other] for other, same in self._living.items() if same == digest and other != uid]
        if others and uid not in self._living:
            self.problems.append(f"Job {meta['name']} lives beside {', '.join(others)}, of the same digest {digest}")
        self._living[uid] = digest

    def repeated(self) -> list[str]:
        """The Jobs that were created more than once."""
        counted = Counter(self.created.values())
        return [f"Job {name} was created {times} times" for name, times in counted.items() if times > 1]

    async def follow(self, client: Client, namespace: str) -> None:
        """Watch the Jobs of a namespace until cancelled; the namespace is new, so that none was there before."""
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        version: str | None = None
        while True:
            # A watch that ends goes on where it was: no Job is missed.
            try:
                version = version or await self._list(client, path)
                async for event, job in client.watch(path, version):
                    if event == "ERROR":
                        raise Refused("WATCH", path, job.get("code", 0), job.get("message", ""))
                    version = job["metadata"]["resourceVersion"]
                    if event != "BOOKMARK":
                        self.take(event, job)
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass  # the API server is away for a while
            except Refused as refusal:
                if refusal.status == 410:
                    # An API server that was started anew knows no past. Jobs that came and went meanwhile are missed.
                    version = None
            await asyncio.sleep(RETRY_SECONDS)

    async def _list(self, client: Client, path: str) -> str:
        jobs, version = await client.listing(path)
        for gone in self._living.keys() - {job["metadata"]["uid"] for job in jobs}:
            del self._living[gone]
        for job in jobs:
            self.take("ADDED", job)
        return version


def _ended(job: Object) -> bool:
    return any(
        condition["type"] in ("Complete", "Failed") and condition["status"] == "True"
        for condition in job.get("status", {}).get("conditions", ())
    )
