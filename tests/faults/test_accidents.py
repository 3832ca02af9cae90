"""What may happen to a cluster while it is used: the pipeline ends as if it had not.

$KAON_FAULTS=full takes the times and numbers of the full run (`python tests/faults --full`), in which also the real
API server is away, every phase of every kind sees its resource deleted, and a watch dies without a word.
Elsewhere: edited and deleted children of any kind, a killed and a stopped leader, in tests/cluster/engine.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from simulation.client import Object

from kaon.engine.lease import LEASE_SECONDS

from .accidents import NEWER_HAS, OLDER_LACKS, edited_by_hand, kill_component, other_crds
from .operator_process import from_program
from .proxy import Proxy
from .scenario import PIPELINE
from .stand import Ground, Stand, until
from .state import State, differences

FULL = os.environ.get("KAON_FAULTS") == "full"
AWAY_SECONDS = 60.0 if FULL else 10.0
CLOCK = from_program(str(Path(__file__).with_name("clock_program.py")))
KINDS = [obj["kind"] for obj in PIPELINE]
PHASES = {
    **dict.fromkeys(KINDS, ("Waiting", "Pending", "Running", "Succeeded")),
    "Dataset": ("Pending", "Running", "Succeeded"),
    "ModelDeployment": ("Waiting", "Progressing", "Ready"),
}
full_only = pytest.mark.skipif(not FULL, reason="minutes; python tests/faults --full runs it")


def run(work: Awaitable[None]) -> None:
    """A test's coroutine, to its end."""

    async def bounded() -> None:
        async with asyncio.timeout(600):
            await work

    asyncio.run(bounded())


def judged(stand: Stand, repeated: int = 0) -> None:
    """The run was good, but that so many Jobs had to be made again."""
    wrong = stand.judge()
    again = [line for line in wrong if line in stand.census.repeated()]
    others = [line for line in wrong if line not in again]
    assert not others, "\n".join([*others, stand.trace()])
    assert len(again) <= repeated, "\n".join([*again, stand.trace()])


async def working(stand: Stand, jobs: int = 1) -> None:
    """So many Jobs were made."""
    assert await until(lambda: len(stand.census.created) >= jobs, 60.0), stand.trace()


async def through(stand: Stand, in_the_middle: Callable[[], Awaitable[None]], jobs: int = 1) -> None:
    """The first step, with something in its middle."""
    await stand.act(stand.ground.steps[0])
    await working(stand, jobs)
    await in_the_middle()
    await stand.rests(0)
    judged(stand)


# -- the control plane ----------------------------------------------------------------------------------------------


def test_etcd_is_killed_and_starts_again(pipeline: Ground, quick_stages: None) -> None:
    async def work() -> None:
        async with Stand(pipeline) as stand:
            await through(stand, lambda: kill_component(pipeline.cluster, "etcd"))

    run(work())


def test_the_api_server_cannot_be_reached_for_a_while(pipeline: Ground, quick_stages: None) -> None:
    async def work() -> None:
        async with Stand(pipeline) as stand:

            async def away() -> None:
                await stand.proxy.go_away()
                await asyncio.sleep(AWAY_SECONDS)
                await stand.proxy.come_back()

            await through(stand, away, jobs=2)

    run(work())


@full_only
def test_the_api_server_is_killed_and_starts_again_after_a_minute(pipeline: Ground, quick_stages: None) -> None:
    async def work() -> None:
        async with Stand(pipeline) as stand:
            await through(stand, lambda: kill_component(pipeline.cluster, "kube-apiserver", AWAY_SECONDS))

    run(work())


@full_only
def test_watches_fall_silent_without_a_word(pipeline: Ground, quick_stages: None) -> None:
    async def work() -> None:
        async with Stand(pipeline) as stand:

            async def silence() -> None:
                stand.proxy.silence()

            await stand.act(pipeline.steps[0])
            await working(stand)
            await silence()
            # A dead watch is found out after 90 s without a bookmark; several stages may meet one each.
            assert await until(lambda: stand.rests(0), 300.0), stand.trace()
            judged(stand)

    run(work())


# -- leaders ----------------------------------------------------------------------------------------------


def test_a_leader_that_was_stopped_past_its_lease_writes_nothing_and_ends(edited: Ground, quick_stages: None) -> None:
    async def work() -> None:
        async with Stand(edited, flags=("--leader-elect",), restart=False) as stand:
            await stand.act(edited.steps[0])
            await working(stand)
            await _take_over(stand)

    async def _take_over(stand: Stand) -> None:
        old, old_proxy = stand.operator, stand.proxy
        proxy = Proxy(edited.cluster.server, edited.cluster.layout.pki)
        async with proxy, stand.make_operator(proxy, "standby") as standby:
            stand.proxy, stand.operator = proxy, standby
            old.signal(signal.SIGSTOP)
            await stand.rests(0)
            # All of this waits in the old leader's sockets.
            await stand.act(edited.steps[1])
            await stand.rests(1)
            writes = old_proxy.counts["write"]
            old.signal(signal.SIGCONT)
            assert await until(lambda: old.ended, LEASE_SECONDS), old.log
            assert old_proxy.counts["write"] == writes, "\n".join(map(str, old_proxy.record))
            assert old.exits == [1] and "the lease is lost" in old.log
            judged(stand)

    run(work())


# -- clocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_clock_jumps(edited: Ground, quick_stages: None, tmp_path: Path, hours: int) -> None:
    async def work() -> None:
        moments = ("stages", "candidate", "retiring")
        await asyncio.gather(*(_with_jump(edited, tmp_path / moment, hours, moment) for moment in moments))

    run(work())


async def _with_jump(ground: Ground, clock: Path, hours: int, moment: str) -> None:
    """Both steps; the clock jumps at that moment, and stays there."""
    _set(clock, 0)
    async with Stand(ground, start=CLOCK, env={"FAULTS_CLOCK": str(clock)}) as stand:
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


def _set(clock: Path, hours: int) -> None:
    clock.write_text(str(hours * 3600))


async def _has(stand: Stand, role: str) -> bool:
    found = await stand.get("ModelDeployment")
    return found is not None and role in found["status"]


# -- hands ----------------------------------------------------------------------------------------------


def test_a_job_that_is_deleted_while_it_runs_is_made_again(pipeline: Ground, slow_stages: None) -> None:
    async def work() -> None:
        async with Stand(pipeline) as stand:
            await stand.act(pipeline.steps[0])
            await working(stand, jobs=2)
            name = list(stand.census.created.values())[1]
            await stand.delete("Job", name)
            await stand.rests(0)
            judged(stand, repeated=1)
            assert stand.census.repeated() == [f"Job {name} was created 2 times"]

    run(work())


def test_a_job_that_is_deleted_after_its_end_is_not_made_again(pipeline: Ground, quick_stages: None) -> None:
    async def work() -> None:
        async with Stand(pipeline) as stand:
            await stand.act(pipeline.steps[0])
            await stand.rests(0)
            for job in await stand.listed("Job"):
                await stand.delete("Job", job["metadata"]["name"])
            assert await until(lambda: _gone(stand, "Job"), 20.0)
            await asyncio.sleep(3.0)
            wrong = differences(_without_jobs(await stand.state()), _without_jobs(pipeline.references[0]))
            assert not wrong, "\n".join([*wrong, stand.trace()])
            judged(stand)

    run(work())


def _without_jobs(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith(("Job ", "Pods "))}


async def _gone(stand: Stand, kind: str) -> bool:
    return not await stand.listed(kind)


def test_every_child_is_put_back_after_an_edit_and_after_its_deletion(pipeline: Ground, quick_stages: None) -> None:
    def as_before(state: State) -> list[str]:
        found = differences(state, pipeline.references[0])
        return [line for line in found if "eneration:" not in line and "/revision:" not in line]  # these tell of hands

    async def work() -> None:
        async with Stand(pipeline) as stand:
            await stand.act(pipeline.steps[0])
            await stand.rests(0)
            children = await _children(stand)
            edited = 0
            for child in children:
                patch = edited_by_hand(child)
                if patch is not None:
                    await stand.patch(child["kind"], patch, child["metadata"]["name"])
                    edited += 1
            assert edited >= 5, [child["kind"] for child in children]
            await asyncio.sleep(1.0)
            assert not (wrong := await stand.wrong_for_good(as_before)), "\n".join([*wrong, stand.trace()])
            for child in children:
                if child["kind"] not in ("Job", "Report"):
                    await stand.delete(child["kind"], child["metadata"]["name"])
            await asyncio.sleep(1.0)
            assert not (wrong := await stand.wrong_for_good(as_before)), "\n".join([*wrong, stand.trace()])
            judged(stand)

    run(work())


async def _children(stand: Stand) -> list[Object]:
    kinds = ("Job", "Report", "Deployment", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget",
             "ServiceAccount", "RoleBinding")  # fmt: skip
    selected = [item for kind in kinds for item in await stand.listed(kind)]
    return [
        item for item in selected if item["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "kaon"
    ]


def _deletions() -> list[tuple[str, str]]:
    every = [(kind, phase) for kind, phases in PHASES.items() for phase in phases]
    if FULL:
        return every
    seed = int(os.environ.get("KAON_SEED") or random.randrange(10**6))
    print(f"KAON_SEED={seed}")
    return random.Random(seed).sample(every, 4)


def test_a_resource_deleted_in_any_phase_and_applied_again_ends_as_the_others(
    pipeline: Ground, slow_stages: None
) -> None:
    async def one(kind: str, phase: str) -> None:
        async with Stand(pipeline) as stand:
            await stand.act(pipeline.steps[0])

            async def there() -> bool:
                found = await stand.get(kind)
                return found is not None and found.get("status", {}).get("phase") == phase

            assert await until(there, 60.0, every=0.02), f"{kind} was never {phase}\n{stand.trace()}"
            await stand.delete(kind)
            await stand.create(next(obj for obj in PIPELINE if obj["kind"] == kind))
            await stand.rests(0)
            judged(stand, repeated=0 if kind == "ModelDeployment" else 1)

    async def work() -> None:
        room = asyncio.Semaphore(3)

        async def in_turn(kind: str, phase: str) -> str | None:
            async with room:
                try:
                    await one(kind, phase)
                except AssertionError as error:
                    return f"{kind} deleted in phase {phase}: {error}"
            return None

        failed = filter(None, await asyncio.gather(*(in_turn(*chosen) for chosen in _deletions())))
        assert not (found := list(failed)), "\n\n".join(found)

    run(work())


# -- upgrades ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["newer", "older"])
def test_a_crd_changes_under_stored_objects(edited: Ground, quick_stages: None, tmp_path: Path, change: str) -> None:
    async def work() -> None:
        async with Stand(edited) as stand:
            await stand.act(edited.steps[0])
            await stand.rests(0)
            with other_crds(edited.cluster, tmp_path, change):
                if change == "newer":
                    await stand.patch("Dataset", {"spec": {NEWER_HAS: "unknown to this operator"}})
                await stand.act(edited.steps[1])
                reference = _known(edited.references[1], change)
                wrong = await stand.wrong_for_good(lambda state: differences(_known(state, change), reference))
                assert not wrong, "\n".join([*wrong, stand.trace()])
                writes = stand.proxy.counts["write"]
                await asyncio.sleep(4.0)
                assert stand.proxy.counts["write"] == writes, stand.trace()
            judged(stand)

    run(work())


def _known(state: State, change: str) -> State:
    """What both versions of the CRDs have."""
    found = copy.deepcopy(state)
    if change == "newer":
        del found["Dataset reviews"]  # it has another generation
    else:
        for obj in found.values():
            if isinstance(obj, dict):
                obj.get("status", {}).pop(OLDER_LACKS, None)
    return found
