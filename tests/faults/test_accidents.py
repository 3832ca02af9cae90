"""What may happen to a cluster while it is used: the pipeline ends as if it had not.

$KAON_FAULTS=full takes the times and numbers of the full run (`python tests/faults --full`): there also the API server
itself is killed for a minute, watches die without a word, each kind is deleted in each of its phases (otherwise
$KAON_SEED chooses some), and a newer CRD comes. tests/cluster/engine has more of leaders and stale views, one by one.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from .accidents import NEWER_HAS, OLDER_LACKS, kill_component, other_crds
from .forked import ForkServer
from .mishaps import FULL_AWAY_SECONDS, judged, mishaps, working
from .stand import Ground, Stand
from .state import State, differences

FULL = os.environ.get("KAON_FAULTS") == "full"
MISHAPS = dict(mishaps(FULL, int(os.environ.get("KAON_SEED") or 0)))
SIDE_BY_SIDE = 6
TEST_SECONDS = 900.0


def run(ground: Ground, work: Callable[[Ground], Awaitable[None]]) -> None:
    """Work on a ground with operators, to its end."""

    async def bounded() -> None:
        async with asyncio.timeout(TEST_SECONDS), ForkServer() as forks:
            await work(replace(ground, forks=forks))

    asyncio.run(bounded())


@pytest.fixture(scope="module")
def failures(edited: Ground, slow_stages: None) -> dict[str, str]:
    """What went wrong, by mishap. All of them run side by side, since they mostly wait."""
    found: dict[str, str] = {}

    async def work(ground: Ground) -> None:
        room = asyncio.Semaphore(SIDE_BY_SIDE)

        async def one(name: str) -> None:
            async with room:
                try:
                    await MISHAPS[name](ground)
                except AssertionError as error:
                    found[name] = str(error)

        await asyncio.gather(*(one(name) for name in MISHAPS))

    run(edited, work)
    return found


@pytest.mark.parametrize("mishap", MISHAPS)
def test_the_pipeline_ends_as_if_nothing_had_happened_when(mishap: str, failures: dict[str, str]) -> None:
    assert mishap not in failures, failures[mishap]


def test_it_ends_so_when_etcd_is_killed_and_starts_again(edited: Ground, slow_stages: None) -> None:
    run(edited, lambda ground: _without(ground, "etcd", 0.0))


@pytest.mark.skipif(not FULL, reason="two minutes; python tests/faults --full runs it")
def test_it_ends_so_when_the_api_server_is_killed_and_is_away_for_a_minute(edited: Ground, slow_stages: None) -> None:
    run(edited, lambda ground: _without(ground, "kube-apiserver", FULL_AWAY_SECONDS))


async def nudge_nodes(stand: Stand) -> None:
    """Let the simulated nodes look at every pod again: unlike a kubelet, kwok gives a pod up when a write fails."""
    for pod in await stand.listed("Pod"):
        await stand.patch("Pod", {"metadata": {"annotations": {"nudged": "yes"}}}, pod["metadata"]["name"])


async def _without(ground: Ground, component: str, seconds: float) -> None:
    async with Stand(ground.first(1)) as stand:
        await stand.act(ground.steps[0])
        await working(stand)
        await kill_component(ground.cluster, component, seconds)
        await nudge_nodes(stand)
        await stand.rests(0)
        judged(stand)


@pytest.mark.parametrize("change", ["older", "newer"] if FULL else ["older"])
def test_it_ends_so_when_the_crds_change_under_stored_objects(
    edited: Ground, slow_stages: None, tmp_path: Path, change: str
) -> None:
    run(edited, lambda ground: _with_other_crds(ground, tmp_path, change))


async def _with_other_crds(ground: Ground, folder: Path, change: str) -> None:
    reference = _known(ground.references[1], change)
    async with Stand(ground) as stand:
        await stand.act(ground.steps[0])
        await stand.rests(0)
        with other_crds(ground.cluster, folder, change):
            if change == "newer":
                await stand.patch("Dataset", {"spec": {NEWER_HAS: "unknown to this operator"}})
            await stand.act(ground.steps[1])
            wrong = await stand.wrong_for_good(lambda state: differences(_known(state, change), reference))
            assert not wrong, "\n".join([*wrong, stand.trace()])
            writes = stand.proxy.counts["write"]
            await asyncio.sleep(4.0)
            assert stand.proxy.counts["write"] == writes, stand.trace()
        judged(stand)


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
