"""How long nobody leads: kill -9 of the leader, until the standby's first plan. python benchmarks/operator/failover.py

In each try the leader is killed at a random moment between two renewals of its lease, a Dataset is created at once, and
the time counts until it has a status. The standby leads then, and gets a new standby for the next try. Pairs of
operators, each with a namespace and a Lease of its own, mostly wait, so several go side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]

from simulation import kaonoperator, manifests  # noqa: E402
from simulation.client import Client  # noqa: E402

from kaon.engine.lease import RETRY_SECONDS  # noqa: E402
from localcluster import Cluster  # noqa: E402

LIMIT_SECONDS = 20.0
LOOK_SECONDS = 0.05


def main() -> int:
    """0 when no try took longer than the limit."""
    told = _options()
    print(f"seed {told.seed}", flush=True)
    cluster = Cluster(f"failover-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    try:
        cluster.up()
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"), capture_output=True)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s", capture_output=True)
        with tempfile.TemporaryDirectory(prefix="kaon-failover-") as folder:
            seconds = asyncio.run(_pairs(cluster, told, Path(folder)))
    finally:
        cluster.down()
    print(f"fail-over of {len(seconds)} tries: p50 {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s")
    return int(max(seconds) >= LIMIT_SECONDS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("failover", description=__doc__)
    parser.add_argument("--tries", type=int, default=20, help="[20]")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of operators side by side [4]")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the moments of death")
    return parser.parse_args()


async def _pairs(cluster: Cluster, told: argparse.Namespace, folder: Path) -> list[float]:
    chosen = random.Random(told.seed)
    deaths = [chosen.uniform(0, RETRY_SECONDS) for _ in range(told.tries)]
    async with Client(cluster.kubeconfig, "failover") as client:
        shares = (deaths[number :: told.pairs] for number in range(told.pairs))
        pairs = [Pair(cluster, client, f"pair-{number}", folder) for number in range(told.pairs)]
        found = await asyncio.gather(*(pair.tries(share) for pair, share in zip(pairs, shares, strict=True)))
    return [seconds for one in found for seconds in one]


class Pair:
    """A leader and a standby."""

    def __init__(self, cluster: Cluster, client: Client, namespace: str, folder: Path) -> None:
        self._cluster = cluster
        self._client = client
        self._namespace = namespace
        self._folder = folder
        self._started = 0

    async def tries(self, deaths: list[float]) -> list[float]:
        """The seconds of each try; `deaths` says how long after its beginning the leader dies."""
        await self._client.request("POST", "/api/v1/namespaces", {"metadata": {"name": self._namespace}})
        found = []
        async with AsyncExitStack() as stack:
            leader = await self._operator(stack)
            await asyncio.to_thread(leader.program.wait_until, lambda: leader.metric("kaon_leader") == 1, "leading")
            for number, death in enumerate(deaths):
                standby = await self._operator(stack)
                # It has seen the leader's lease, and waits for that to run out.
                await asyncio.sleep(2 * RETRY_SECONDS + death)
                assert standby.metric("kaon_leader") == 0, "there are two leaders"
                leader.program.process.kill()
                found.append(await self._first_plan(f"try-{number}"))
                print(f"{self._namespace}: {found[-1]:.1f} s", flush=True)
                leader = standby
        return found

    async def _operator(self, stack: AsyncExitStack) -> kaonoperator.KaonOperator:
        """A new operator, with warm caches."""
        self._started += 1
        log = self._folder / f"{self._namespace}-{self._started}.log"
        flags = ("--namespaces", self._namespace, "--lease-namespace", self._namespace)
        operator = stack.enter_context(kaonoperator.started(self._cluster.kubeconfig, log, *flags))
        await asyncio.to_thread(operator.program.wait_until, lambda: "caches are synced" in log.read_text(), "synced")
        return operator

    async def _first_plan(self, name: str) -> float:
        began = time.monotonic()
        path = manifests.collection(self._namespace, "datasets")
        await self._client.request("POST", path, manifests.dataset(name))
        while "status" not in await self._client.request("GET", f"{path}/{name}"):
            if time.monotonic() - began > 6 * LIMIT_SECONDS:
                raise TimeoutError(f"nobody leads in {self._namespace}")
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
