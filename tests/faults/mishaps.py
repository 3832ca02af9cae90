"""Accidents that disturb only their own namespace or their own operator, so that many go side by side.

Each is a run of the pipeline with something in its middle; it raises AssertionError with the trace of what went wrong.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from simulation.client import MERGE, Object, Refused
from simulation.jobside import succeeds

from kaon.engine.lease import LEASE_SECONDS
from kaon.resources.labels import MANAGED_BY, MANAGER

from .accidents import edited_by_hand
from .clock import VARIABLE
from .proxy import Proxy
from .scenario import PIPELINE
from .stand import Ground, Stand, until
from .state import State, differences

Mishap = Callable[[Ground], Awaitable[None]]
"""(ground of the scenario `edit`) -> nothing, or an AssertionError."""

JOB_NAME = "batch.kubernetes.io/job-name"
AWAY_SECONDS, FULL_AWAY_SECONDS = 10.0, 60.0
SILENCE_SECONDS = 300.0
"""A dead watch is found out after 90 s without a bookmark; several stages may meet one each."""
JUMPS = [(hours, moment) for hours in (-1, 1) for moment in ("stages", "candidate", "retiring")]
PHASES = {
    "Dataset": ("Pending", "Running", "Succeeded"),
    "TrainingRun": ("Waiting", "Pending", "Running", "Succeeded"),
    "CompressionJob": ("Waiting", "Pending", "Running", "Succeeded"),
    "ModelDeployment": ("Waiting", "Progressing", "Ready"),
}
CHILDREN = (
    "Deployment", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "RoleBinding"
)  # fmt: skip


def mishaps(full: bool, seed: int) -> Iterator[tuple[str, Mishap]]:
    """All of them by name. full: for longer and in every variant; else the seed chooses."""
    away = FULL_AWAY_SECONDS if full else AWAY_SECONDS
    phases = [(kind, phase) for kind, phases in PHASES.items() for phase in phases]
    yield "the API server cannot be reached for a while", partial(unreachable, seconds=away)
    yield "the leader is stopped past its lease", stopped_leader
    for hours, moment in JUMPS if full else random.Random(seed).sample(JUMPS, 2):
        yield f"the clock jumps by {hours} h ({moment})", partial(clock_jump, hours=hours, moment=moment)
    yield "a Job is deleted while it runs", job_deleted_while_it_runs
    yield "a Job is deleted, and its pod tells its result after it was made again", job_deleted_whose_pod_tells_late
    yield "Jobs are deleted after their end", jobs_deleted_after_their_end
    yield "every child is edited and then deleted", children_edited_and_deleted
    for kind, phase in phases if full else random.Random(seed).sample(phases, 3):
        yield f"the {kind} is deleted when {phase}", partial(deleted_in_phase, kind=kind, phase=phase)
    if full:
        yield "watches fall silent without a word", silent_watches


async def unreachable(ground: Ground, seconds: float) -> None:
    """Connections are cut and refused for so long."""
    async with Stand(ground.first(1)) as stand:
        await stand.act(ground.steps[0])
        await working(stand, jobs=2)
        await stand.proxy.go_away()
        await asyncio.sleep(seconds)
        await stand.proxy.come_back()
        await stand.rests(0)
        judged(stand)


async def stopped_leader(ground: Ground) -> None:
    """The leader is stopped, another leads, then it goes on: it writes nothing any more and ends."""
    async with Stand(ground, flags=("--leader-elect",), restart=False) as stand:
        await stand.act(ground.steps[0])
        await working(stand)
        old, old_proxy = stand.operator, stand.proxy
        new_proxy = Proxy(ground.cluster.server, ground.cluster.layout.pki)
        async with new_proxy, stand.make_operator(new_proxy, "standby") as standby:
            stand.proxy, stand.operator = new_proxy, standby
            old.signal(signal.SIGSTOP)
            await stand.rests(0)
            # All of this waits in the old leader's sockets.
            await stand.act(ground.steps[1])
            await stand.rests(1)
            writes = old_proxy.counts["write"]
            old.signal(signal.SIGCONT)
            assert await until(lambda: old.ended, LEASE_SECONDS), old.log
            assert old_proxy.counts["write"] == writes, "\n".join(map(str, old_proxy.record))
            assert old.exits == [1] and "the lease is lost" in old.log, (old.exits, old.log)
            judged(stand)


async def clock_jump(ground: Ground, hours: int, moment: str) -> None:
    """The clock jumps in the stages, or while the edit's revision is on its way in or out, and stays there."""
    clock = ground.folder / f"clock{hours}-{moment}"
    _set(clock, 0)
    async with Stand(ground, env={VARIABLE: str(clock)}) as stand:
        await stand.act(ground.steps[0])
        if moment == "stages":
            await working(stand, jobs=2)
            _set(clock, hours)
        await stand.rests(0)
        await stand.act(ground.steps[1])
        if moment != "stages":
            assert await until(lambda: _has(stand, moment), 90.0, every=0.05), f"no {moment}\n{stand.trace()}"
            _set(clock, hours)
        await stand.rests(1)
        judged(stand)


async def job_deleted_while_it_runs(ground: Ground) -> None:
    """It is made again, once, unless its pod has just told its result."""
    async with Stand(ground.first(1)) as stand:
        await _delete_running_job(stand)
        await stand.rests(0)
        await _told_once(stand)
        judged(stand, repeated=1)


async def job_deleted_whose_pod_tells_late(ground: Ground) -> None:
    """The Job is made again, and then the pod of the first tells its result: it stands, and the second finds it.

    On a slow machine the first pod may have told it before the Job was deleted, or the second before this one.
    """
    async with Stand(ground.first(1)) as stand:
        pod = await _delete_running_job(stand)
        name = pod["metadata"]["labels"][JOB_NAME]
        path = f"{stand.path('Report', name)}/status"
        report: Object = {}

        async def remade_or_told() -> bool:
            nonlocal report
            report = await stand.client.request("PATCH", path, {}, MERGE)
            return bool(stand.census.repeated() or _result_of(report))

        assert await until(remade_or_told, 90.0, every=0.05), stand.trace()
        while not (first := _result_of(report)):
            told = {
                "status": succeeds(pod, report),
                "metadata": {"resourceVersion": report["metadata"]["resourceVersion"]},
            }
            try:
                report = await stand.client.request("PATCH", path, told, MERGE)
            except Refused as refusal:
                if refusal.status != 409:
                    raise
                report = await stand.client.request("PATCH", path, {}, MERGE)
        await stand.rests(0)
        await _told_once(stand)
        assert _result_of(await stand.client.request("PATCH", path, {}, MERGE)) == first
        judged(stand, repeated=1)


def _result_of(report: Object) -> Object:
    found: Object = report.get("status", {}).get("result") or {}
    return found


async def _delete_running_job(stand: Stand) -> Object:
    """Apply everything, and delete the training's Job while it runs. Returns its pod."""
    await stand.act(stand.ground.steps[0])
    # Its pod runs. Earlier, the Job's controller may just be making the pod; then it takes that for one of the
    # Job's successor's, and waits five minutes for it (Kubernetes 1.35).
    await reached(stand, "TrainingRun", "Running")
    training = await stand.get("TrainingRun")
    assert training is not None
    name = training["status"]["jobName"]
    pods = [pod for pod in await stand.listed("Pod") if pod["metadata"]["labels"].get(JOB_NAME) == name]
    await stand.delete("Job", name)
    assert pods, f"no pod of {name}"
    return pods[0]


async def _told_once(stand: Stand) -> None:
    """The training ended once, however many Jobs it took."""
    training = await stand.get("TrainingRun")
    assert training is not None
    outcomes = [(item["inputDigest"], item["outcome"]) for item in training["status"]["history"]]
    assert outcomes == [(training["status"]["inputDigest"], "Succeeded")], f"{outcomes}\n{stand.trace()}"


async def jobs_deleted_after_their_end(ground: Ground) -> None:
    """None is made again: the Reports have the results."""

    def others(state: State) -> State:
        return {key: value for key, value in state.items() if not key.startswith(("Job ", "Pods "))}

    async with Stand(ground.first(1)) as stand:
        await stand.act(ground.steps[0])
        await stand.rests(0)
        for job in await stand.listed("Job"):
            await stand.delete("Job", job["metadata"]["name"])
        await asyncio.sleep(5.0)
        wrong = differences(others(await stand.state()), others(ground.references[0]))
        assert not wrong and not await stand.listed("Job"), "\n".join([*wrong, stand.trace()])
        judged(stand)


async def children_edited_and_deleted(ground: Ground) -> None:
    """Each is put back."""

    def as_before(state: State) -> list[str]:
        found = differences(state, ground.references[0])
        return [line for line in found if "eneration:" not in line and "/revision:" not in line]  # these tell of hands

    async with Stand(ground.first(1)) as stand:
        await stand.act(ground.steps[0])
        await stand.rests(0)
        every = [child for kind in CHILDREN for child in await stand.listed(kind)]
        children = [child for child in every if child["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER]
        edits = [(child, patch) for child in children if (patch := edited_by_hand(child)) is not None]
        assert len(edits) >= 6, [child["kind"] for child in children]
        for child, patch in edits:
            await stand.patch(child["kind"], patch, child["metadata"]["name"])
        await asyncio.sleep(1.0)
        assert not (wrong := await stand.wrong_for_good(as_before)), "\n".join([*wrong, stand.trace()])
        for child in children:
            await stand.delete(child["kind"], child["metadata"]["name"])
        await asyncio.sleep(1.0)
        assert not (wrong := await stand.wrong_for_good(as_before)), "\n".join([*wrong, stand.trace()])
        judged(stand)


async def deleted_in_phase(ground: Ground, kind: str, phase: str) -> None:
    """It is deleted and at once applied again."""
    async with Stand(ground.first(1)) as stand:
        await stand.act(ground.steps[0])
        await reached(stand, kind, phase)
        await stand.delete(kind)
        await stand.create(next(obj for obj in PIPELINE if obj["kind"] == kind))
        await stand.rests(0)
        # Its children went with it, so that its own Job is made again, and no other.
        judged(stand, repeated=0 if kind == "ModelDeployment" else 1)


async def silent_watches(ground: Ground) -> None:
    """Every open watch delivers nothing any more, and stays open."""
    async with Stand(ground.first(1)) as stand:
        await stand.act(ground.steps[0])
        await working(stand)
        stand.proxy.silence()
        wrong = await stand.wrong_for_good(lambda state: differences(state, ground.references[0]), SILENCE_SECONDS)
        assert not wrong, "\n".join([*wrong, stand.trace()])
        judged(stand)


async def working(stand: Stand, jobs: int = 1) -> None:
    """So many Jobs were made."""
    assert await until(lambda: len(stand.census.created) >= jobs, 90.0, every=0.05), stand.trace()


async def reached(stand: Stand, kind: str, phase: str) -> None:
    """A resource is in a phase."""

    async def there() -> bool:
        found = await stand.get(kind)
        return found is not None and found.get("status", {}).get("phase") == phase

    assert await until(there, 90.0, every=0.02), f"{kind} was never {phase}\n{stand.trace()}"


def judged(stand: Stand, repeated: int = 0) -> None:
    """The run was good, but that so many Jobs had to be made again."""
    again = stand.census.repeated()
    others = [line for line in stand.judge() if line not in again]
    assert not others and len(again) <= repeated, "\n".join([*others, *again, stand.trace()])


def _set(clock: Path, hours: int) -> None:
    clock.write_text(str(hours * 3600))


async def _has(stand: Stand, role: str) -> bool:
    found = await stand.get("ModelDeployment")
    return found is not None and role in found["status"]
