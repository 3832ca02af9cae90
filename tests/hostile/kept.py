"""Inputs that stay: the largest valid resources of every kind, and large ConfigMaps that carry Kaon's label.

What the operator keeps in memory must not grow with them, neither while they come nor in an operator that starts when
all of them are there; and a resource of another namespace that is well must not wait for them.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness import OperatorProcess
from hostile.api import ROOT, Api
from hostile.drafts import object_of
from hostile.flood import Memory, canaries, quantiles
from hostile.schema import Kind, Object, kinds, user_kinds
from hostile.specs import largest
from hostile.world import World, metrics, running

from kaon.tasks.registry import TASKS

KEPT = "kept"
AT_ONCE = 2
REST_SECONDS = 900.0
SETTLED_SECONDS = 15.0
"""How long an operator is looked at after it has nothing left to do."""
MOST_MEGABYTES = 200.0
CLASSES = 1000
MAP_BYTES = 2**20 - 4096
"""Of a ConfigMap's content; the API server takes a mebibyte."""


def resource_of(kind: Kind, number: int) -> Object:
    """A valid resource, as large as it can be: what is bounded by nobody is made of what Kaon itself reads."""
    rng = random.Random(number)
    spec = largest(kind, rng)
    # Its Jobs would be as large, and are the API server's burden alone.
    spec["suspend"] = True
    if kind.name == "Dataset" and TASKS[spec["task"]].has_classes:
        spec["schema"]["label"]["classes"] = [f"{each:04}" + "数" * 61 for each in range(CLASSES)]
    labels = {f"kaon.dev/l{each}": f"{rng.getrandbits(200):050x}" for each in range(800)}
    annotations = {"kaon.dev/note": f"{rng.getrandbits(1_000_000):0250000x}"}
    return object_of(kind, f"k{number}", spec, labels=labels, annotations=annotations)


def labelled_map(number: int) -> Object:
    """A ConfigMap that says that Kaon made it, and that nobody owns."""
    rng = random.Random(number)
    metadata = {"name": f"k{number}", "labels": {"app.kubernetes.io/managed-by": "kaon"}}
    data = {"text": f"{rng.getrandbits(4 * MAP_BYTES):0{MAP_BYTES}x}"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def inputs(resources: int, maps: int) -> Iterator[tuple[str, Object]]:
    """(collection, object), the kinds by turns."""
    of_kinds = user_kinds()
    for number in range(max(resources, maps)):
        if number < resources:
            kind = of_kinds[number % len(of_kinds)]
            yield f"{ROOT}/namespaces/{KEPT}/{kind.plural}", resource_of(kind, number)
        if number < maps:
            yield f"/api/v1/namespaces/{KEPT}/configmaps", labelled_map(number)


@dataclass
class Seen:
    """What one run saw."""

    quiet: list[float] = field(default_factory=list)
    """Seconds until the first status of a resource that is well, before."""
    flooded: list[float] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)
    """Of the flooded, the API server's part: until it showed the resource to a watch."""
    started: list[float] = field(default_factory=list)
    """The same beside an operator that has just started with everything there."""
    memory: list[float] = field(default_factory=list)
    memory_started: list[float] = field(default_factory=list)
    bytes_sent: int = 0
    without_status: int = 0
    left_out: float = 0.0
    seconds: float = 0.0
    errors: float = 0.0

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.bytes_sent / 2**20:.0f} MiB in {self.seconds:.0f} s; {self.left_out:.0f} objects not kept",
                f"first status of a resource that is well, before: {quantiles(self.quiet)}",
                f"meanwhile: {quantiles(self.flooded)}",
                f"of which the API server needs to show it: {quantiles(self.shown)}",
                f"and the operator to write the status: {quantiles(self.own)}",
                f"beside an operator that starts then: {quantiles(self.started)}",
                f"memory: {self.memory[0]:.0f} MB before, {max(self.memory):.0f} MB at most",
                f"memory of an operator that starts then: {max(self.memory_started):.0f} MB at most",
            ]
        )

    @property
    def own(self) -> list[float]:
        """Of the flooded, the operator's part: from when it could know of the resource to its status."""
        return [waited - shown for waited, shown in zip(self.flooded, self.shown, strict=True)]

    def wrong(self, most_seconds: float) -> list[str]:
        """What is not as it must be."""
        slow = [seconds for seconds in (*self.own, *self.started) if seconds > most_seconds]
        most = max(*self.memory, *self.memory_started)
        found = [f"a resource that is well waited {max(slow):.1f} s"] if slow else []
        found += [f"the operator took {most:.0f} MB"] if most > MOST_MEGABYTES else []
        found += [f"{self.without_status} of the resources have no status"] if self.without_status else []
        found += [f"{self.errors:.0f} reconciles ended with a defect"] if self.errors else []
        return found if self.left_out else [*found, "no object was too large to be kept"]


async def hold(world: World, resources: int, maps: int, quiet_seconds: float = 10.0) -> Seen:
    """Fill a namespace, keep everything, start a second operator over it."""
    world.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": KEPT}})
    seen = Seen()
    async with Api(world.cluster.server, world.cluster.layout.pki) as api:
        with running(world) as operator:
            times: list[float] = []
            shown: list[float] = []
            async with canaries(world, times, shown), _measured(operator, seen.memory):
                await asyncio.sleep(quiet_seconds)
                quiet, began = len(times), time.monotonic()
                seen.bytes_sent = await _fill(api, resources, maps)
                seen.seconds = time.monotonic() - began
                await _rests(operator)
            seen.quiet, seen.flooded, seen.shown = times[:quiet], times[quiet:], shown[quiet:]
            seen.errors += metrics(operator)["error"]
        with running(world) as operator:
            async with canaries(world, seen.started), _measured(operator, seen.memory_started):
                await _rests(operator)
            seen.left_out = operator.metric("kaon_cache_left_out")
            seen.errors += metrics(operator)["error"]
        seen.without_status = await _without_status(api)
    return seen


async def _fill(api: Api, resources: int, maps: int) -> int:
    waiting, sent = inputs(resources, maps), 0

    async def work() -> None:
        nonlocal sent
        for path, obj in waiting:
            body = json.dumps(obj, ensure_ascii=False).encode()
            status, answer = await api.send("POST", path, body)
            assert status == 201, f"{status} {str(answer)[:500]}"
            sent += len(body)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return sent


async def _rests(operator: OperatorProcess) -> None:
    """Until the operator has worked on everything, and a while longer."""
    deadline = time.monotonic() + REST_SECONDS
    done, since = -1.0, time.monotonic()
    while time.monotonic() - since < SETTLED_SECONDS:
        assert time.monotonic() < deadline, "the operator does not come to rest"
        await asyncio.sleep(1.0)
        # The canaries go on all the while.
        now = await asyncio.to_thread(operator.metric, "kaon_queue_depth")
        if now > 2 or done < 0:
            done, since = now, time.monotonic()


class _measured:
    """Samples of an operator's memory meanwhile."""

    def __init__(self, operator: OperatorProcess, samples: list[float]) -> None:
        self._memory = Memory(operator.process.pid, samples)
        self._stop = asyncio.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._memory.measure(self._stop))

    async def __aexit__(self, *unused: object) -> None:
        self._stop.set()
        await self._task


async def _without_status(api: Api) -> int:
    """How many of the kept resources were never answered."""
    missing, path = 0, ""
    for kind in kinds().values():
        if kind.name == "Report":
            continue
        following = ""
        while True:
            path = f"{ROOT}/namespaces/{KEPT}/{kind.plural}?limit=20{following}"
            page = await api.get(path)
            assert page is not None
            missing += sum(1 for item in page["items"] if not item.get("status", {}).get("conditions"))
            token = page["metadata"].get("continue")
            if not token:
                break
            following = f"&continue={token}"
    return missing


def kept(world: World, resources: int, maps: int) -> Seen:
    """`hold` for those who have no event loop."""
    sys.setrecursionlimit(50_000)
    return asyncio.run(hold(world, resources, maps))
