"""What only Kaon is measured for: a restart beside thousands of finished resources, rest, whole pipelines; and, for
every side that has a controller, one run at a time."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import Figures, percentiles
from measure import MEGABYTE, SETTLE_SECONDS, Snapshot, bench_cluster, patience
from sides import NAMESPACE, SIDES, pods
from simulation import kaonoperator, manifests
from simulation.client import Client
from simulation.controlplane import audit_log
from simulation.observe import Watched
from simulation.requests import WRITES, requests_by_agent
from simulation.trial import trial
from simulation.usage import Peak, cpu_seconds, resident_bytes

from localcluster import Cluster

AGENT = "kaon-operator"
LOOK_SECONDS = 0.1
QUIET_SECONDS = 5.0
BETWEEN_SECONDS = 1.0
RECONCILES = "kaon_reconcile_duration_seconds_count"


@contextmanager
def existing(resources: int, folder: Path) -> Iterator[Cluster]:
    """A cluster with that many finished TrainingRuns (and what they left), and no operator."""
    kaon = SIDES["kaon"]
    with bench_cluster("kaon", audit=True) as cluster:
        with kaon.running(cluster, folder):
            trial(
                cluster.kubeconfig, folder, kaon.objects(range(resources)), kaon.watched, resources, patience(resources)
            )
            time.sleep(SETTLE_SECONDS)
        yield cluster


def restart(cluster: Cluster, resources: int, folder: Path) -> Figures:
    """An operator starts beside `resources` finished ones: seconds from its start as a process."""
    first = all_planned = 0.0
    with kaonoperator.started(cluster.kubeconfig, folder / "restarted.log") as operator, Peak([operator.pid]) as memory:
        began = last = time.monotonic()
        planned = 0.0
        while not all_planned or time.monotonic() - last < QUIET_SECONDS:
            time.sleep(LOOK_SECONDS)
            found, now = operator.metric(RECONCILES), time.monotonic()
            if found > planned:
                planned, last = found, now
                first = first or now - began
            if not all_planned and planned > resources and operator.metric("kaon_queue_depth") == 0:
                all_planned = now - began
            if operator.program.process.poll() is not None or now - began > patience(resources):
                raise RuntimeError(f"the restarted operator planned {planned:.0f}:\n{operator.program.tail()}")
        return {
            "resources": resources + 1,
            "until_first_plan_s": round(first, 2),
            "until_all_planned_s": round(all_planned, 2),
            "until_quiet_s": round(last - began, 2),
            "plans": int(planned),
            "writes": int(operator.metric("kaon_api_writes_total")),
            "cpu_s": round(cpu_seconds(operator.pid), 2),
            "peak_mb": round(memory.bytes / MEGABYTE, 1),
            "rest_mb": round(resident_bytes(operator.pid) / MEGABYTE, 1),
        }


def idle(cluster: Cluster, minutes: float, folder: Path) -> Figures:
    """What the operator writes while nothing happens. Renewals of its lease are counted apart."""
    with kaonoperator.leading(cluster.kubeconfig, folder / "idle.log") as operator:
        quiet = -1.0
        while (planned := operator.metric(RECONCILES)) != quiet:
            quiet = planned
            time.sleep(QUIET_SECONDS)
        log = audit_log(cluster.name)
        offset, cpu = log.stat().st_size, cpu_seconds(operator.pid)
        time.sleep(60 * minutes)
        with log.open("rb") as lines:
            lines.seek(offset)
            asked = requests_by_agent(lines, leases=True)
        mine = {key[1:]: count for key, count in asked.items() if key[0] == AGENT and key[1] in WRITES}
        return {
            "minutes": minutes,
            "writes": sum(count for key, count in mine.items() if key[1] != "leases"),
            "lease_renewals": sum(count for key, count in mine.items() if key[1] == "leases"),
            "cpu_percent": round(100 * (cpu_seconds(operator.pid) - cpu) / (60 * minutes), 2),
            "rest_mb": round(resident_bytes(operator.pid) / MEGABYTE, 1),
        }


def near_idle(side: str, runs: int, folder: Path) -> Figures:
    """One run at a time: from sending the create request until the Job is seen, and until the run is complete."""
    found = SIDES[side]
    with bench_cluster(side) as cluster, found.running(cluster, folder):
        return asyncio.run(_one_by_one(cluster, side, runs))


async def _one_by_one(cluster: Cluster, side: str, runs: int) -> Figures:
    watched = SIDES[side].watched
    jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    to_job, to_complete = [], []
    async with Client(cluster.kubeconfig, "simulation-observer") as client:
        for path, obj in SIDES[side].objects(range(runs)):
            name = obj["metadata"]["name"]
            selector = {"labelSelector": f"{watched.owner_label}={name}"} if watched.owner_label else {}
            job = asyncio.create_task(_first(client, jobs, **selector))
            complete = asyncio.create_task(
                _first(client, path, watched.condition, fieldSelector=f"metadata.name={name}")
            )
            await asyncio.sleep(BETWEEN_SECONDS)
            began = time.monotonic()
            await client.request("POST", path, obj)
            to_job.append(await job - began)
            to_complete.append(await complete - began)
    return {"runs": runs, "create_to_job": percentiles(to_job), "create_to_complete": percentiles(to_complete)}


async def _first(client: Client, path: str, condition: str = "", **query: str) -> float:
    """When an object was first seen that was not there before, with a condition if that is asked for."""
    _, version = await client.listing(path, **query)
    async for kind, obj in client.watch(path, version, **query):
        met = [item["type"] for item in obj.get("status", {}).get("conditions") or [] if item["status"] == "True"]
        if kind in ("ADDED", "MODIFIED") and (not condition or condition in met):
            return time.monotonic()
    raise RuntimeError(f"the watch of {path} ended")


def pipelines(count: int, folder: Path) -> Figures:
    """Whole pipelines of four stages at once: seconds until every ModelDeployment is ready."""
    ready = Watched(
        manifests.collection(NAMESPACE, "modeldeployments"), "Ready", NAMESPACE, "kaon.dev/owner", jobs=False
    )
    resources = [
        (manifests.collection(NAMESPACE, plural), obj)
        for number in range(count)
        for plural, obj in manifests.pipeline(f"pipe-{number}")
    ]
    with (
        bench_cluster("kaon") as cluster,
        pods(cluster, folder),
        kaonoperator.leading(cluster.kubeconfig, folder / "operator.log") as operator,
    ):
        controllers = {AGENT: operator.pid}
        before = Snapshot.take(cluster, controllers)
        with Peak([operator.pid]) as memory:
            seen = trial(cluster.kubeconfig, folder, resources, ready, count, patience(8 * count))
            time.sleep(SETTLE_SECONDS)
        used = Snapshot.take(cluster, controllers).since(before)
        jobs = cluster.kubectl("get", "jobs", "-n", NAMESPACE, "-o", "name", stdout=subprocess.PIPE, text=True).stdout
    moments = list(seen.runs.values())
    began = min(run["created"] for run in moments)
    ended = max(run["complete"] for run in moments)
    return {
        "pipelines": count,
        "seconds": round(ended - began, 1),
        "stages_per_minute": round(60 * 4 * count / (ended - began), 1),
        "create_to_ready": percentiles(run["complete"] - run["created"] for run in moments),
        "jobs": len(jobs.split()),
        "peak_mb": round(memory.bytes / MEGABYTE, 1),
        "cpu_ms_per_pipeline": round(1000 * used.cpu[AGENT] / count, 2),
        "requests_per_pipeline": round(used.requests.total() / count, 2),
        "requests": {" ".join(key): found for key, found in used.requests.most_common()},
    }
