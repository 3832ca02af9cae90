"""Sends inputs to the API server, waits for what becomes of each, and looks how everybody else fares meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from harness import OperatorProcess
from hostile.api import ROOT, Api, View
from hostile.cases import Case
from hostile.judge import Tally, Verdict, of_refusal, of_status, workload_pods
from hostile.schema import Object, kinds
from hostile.world import FLOOD, IMAGES, World
from security.restricted import problems

STATUS_SECONDS = 20.0
"""How long an input may be without a status."""
REPORT_SECONDS = 1.5
"""How long a Report's change may take to show: most show at once, some have nothing to show."""
WORKLOADS = {"jobs": "/apis/batch/v1", "deployments": "/apis/apps/v1"}
AT_ONCE = 12


@asynccontextmanager
async def canaries(world: World, times: list[float], shown: list[float] | None = None) -> AsyncIterator[None]:
    """Meanwhile a resource that is well is made each second; `times` is how long each waited for its first status.

    shown: how long the API server took of it, before it showed the resource to a watch.
    """
    program = [sys.executable, str(Path(__file__).with_name("canary.py"))]
    where = [world.cluster.server, str(world.cluster.layout.pki)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, *where, stdin=pipe, stdout=pipe)
    assert process.stdin is not None and process.stdout is not None

    async def listen(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            waited, until_shown = map(float, line.split())
            times.append(waited)
            if shown is not None:
                shown.append(until_shown)

    listening = asyncio.create_task(listen(process.stdout))
    try:
        yield
    finally:
        process.stdin.close()
        await listening
        assert await process.wait() == 0, "the canaries' program failed"


@dataclass
class Memory:
    """The operator's resident memory, in megabytes."""

    process: int
    samples: list[float] = field(default_factory=list)

    async def measure(self, stop: asyncio.Event) -> None:
        """A sample a second, for as long as it lives."""
        while not stop.is_set() and (found := resident_megabytes(self.process)):
            self.samples.append(found)
            await asyncio.sleep(1.0)


@dataclass
class Flood:
    """One run."""

    api: Api
    view: View
    tally: Tally = field(default_factory=Tally)

    async def run(self, cases: Iterable[Case]) -> None:
        """Send them all, a few at once."""
        waiting = iter(cases)

        async def work() -> None:
            for case in waiting:
                self.tally.verdicts.append(await self._judged(case))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def _judged(self, case: Case) -> Verdict:
        plural = kinds()[case.kind].plural
        folder = f"{ROOT}/namespaces/{FLOOD}/{plural}"
        validation = "Strict" if case.strict else "Warn"
        status, answer = await self.api.send("POST", f"{folder}?fieldValidation={validation}", case.body, case.media)
        if status != 201:
            return of_refusal(case, status, answer)
        # An answer too deep to be read here holds no name; it is then the one that was asked for.
        name = answer.get("metadata", {}).get("name", case.name)
        try:
            return await (self._reported(case, name) if case.report else self._followed(case, name))
        finally:
            await self._remove(f"{folder}/{quote(name)}")
            self.view.forget(case.kind, name)

    async def _followed(self, case: Case, name: str) -> Verdict:
        found = await self.view.until(case.kind, name, _has_conditions, STATUS_SECONDS)
        if found is None:
            return await self._without_status(case, name)
        workloads = await self._workloads(found["metadata"]["uid"])
        wrong = [text for workload in workloads for text in problems(workload_pods(workload), IMAGES.values())]
        for workload in workloads:
            wrong += await self._refused_pod(workload)
        return of_status(case, found, ", ".join(item["metadata"]["name"] for item in workloads), wrong)

    async def _without_status(self, case: Case, name: str) -> Verdict:
        if await self.api.get(f"{ROOT}/namespaces/{FLOOD}/{kinds()[case.kind].plural}/{quote(name)}") is None:
            return Verdict(case, "collected", "it is gone")
        return Verdict(case, "problem", f"no status within {STATUS_SECONDS:.0f} s")

    async def _workloads(self, uid: str) -> list[Object]:
        found: list[Object] = []
        for plural, root in WORKLOADS.items():
            selector = quote(f"kaon.dev/owner-uid={uid}")
            listed = await self.api.get(f"{root}/namespaces/{FLOOD}/{plural}?labelSelector={selector}")
            found += (listed or {}).get("items", [])
        return found

    async def _refused_pod(self, workload: Object) -> list[str]:
        """What Pod Security says of the pods; that a class or an account that they name is absent is another matter."""
        template = workload["spec"]["template"]
        metadata = {**template["metadata"], "generateName": "dry-"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        status, answer = await self.api.send(
            "POST", f"/api/v1/namespaces/{FLOOD}/pods?dryRun=All", json.dumps(pod).encode()
        )
        return [f"its pod is refused: {answer['message']}"] if status != 201 and "PodSecurity" in str(answer) else []

    async def _reported(self, case: Case, name: str) -> Verdict:
        """The pod of a stage writes nonsense into its Report: the resource must go on having a status."""
        found = await self.view.until(case.kind, name, lambda obj: obj.get("status", {}).get("jobName"), STATUS_SECONDS)
        if found is None:
            return Verdict(case, "problem", f"no Job within {STATUS_SECONDS:.0f} s")
        path = f"{ROOT}/namespaces/{FLOOD}/reports/{found['status']['jobName']}/status"
        status, answer = await self.api.send("PATCH", path, case.report, "application/merge-patch+json")
        if status != 200:
            return of_refusal(case, status, answer)
        before = found["metadata"]["resourceVersion"]
        changed = await self.view.until(
            case.kind, name, lambda obj: obj["metadata"]["resourceVersion"] != before, REPORT_SECONDS
        )
        ready = [item for item in (changed or found)["status"]["conditions"] if item["type"] == "Ready"]
        return Verdict(case, "told" if changed else "waits", f"{ready[0]['reason']}: {ready[0]['message']}")

    async def _remove(self, path: str) -> None:
        await self.api.send("DELETE", f"{path}?propagationPolicy=Background")
        left = await self.api.get(path)
        if left is not None and left.get("metadata", {}).get("finalizers"):
            patch = json.dumps({"metadata": {"finalizers": None}}).encode()
            await self.api.send("PATCH", path, patch, "application/merge-patch+json")


def _has_conditions(obj: Object) -> bool:
    return bool(obj.get("status", {}).get("conditions"))


def resident_megabytes(process: int) -> float:
    """VmRSS of a process; 0 when it has ended."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_seconds(process: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Result:
    """What one run saw."""

    tally: Tally
    quiet: list[float]
    flooded: list[float]
    memory: list[float]
    processor_seconds: float
    """Of the operator, while the inputs came."""
    seconds: float

    def __str__(self) -> str:
        lines = [self.tally.table(), ""]
        lines += [f"{count:>7}  {reason}" for reason, count in self.tally.reasons().items()]
        lines += ["", f"{len(self.tally.verdicts)} inputs in {self.seconds:.0f} s"]
        for name, times in (("before", self.quiet), ("meanwhile", self.flooded)):
            lines.append(f"first status of a resource that is well, {name}: {quantiles(times)}")
        lines.append(f"operator's memory: {self.memory[0]:.0f} MB before, {max(self.memory):.0f} MB at most")
        lines.append(f"operator's processor time: {self.processor_seconds:.0f} s")
        return "\n".join(lines)


def quantiles(seconds: list[float]) -> str:
    """p50, p95 and the worst, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    p50, p95, worst = (1000 * value for value in (cuts[9], cuts[18], max(seconds)))
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {worst:.0f} ms of {len(seconds)}"


async def flood(world: World, operator: OperatorProcess, cases: Iterable[Case], quiet_seconds: float = 10.0) -> Result:
    """A quiet time, then the inputs, with a canary each second all the while."""
    times: list[float] = []
    memory, stop = Memory(operator.process.pid), asyncio.Event()
    measuring = asyncio.create_task(memory.measure(stop))
    async with Api(world.cluster.server, world.cluster.layout.pki) as api, canaries(world, times):
        await asyncio.sleep(quiet_seconds)
        quiet, began, used = len(times), time.monotonic(), processor_seconds(operator.process.pid)
        view = View(api, FLOOD)
        view.start()
        run = Flood(api, view)
        try:
            await run.run(cases)
        finally:
            await view.stop()
        seconds, used = time.monotonic() - began, processor_seconds(operator.process.pid) - used
    stop.set()
    await measuring
    return Result(run.tally, times[:quiet], times[quiet:], memory.samples, used, seconds)
