"""What happens to a cluster in the middle of a run: components that die, hands that edit. Nothing here judges."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from simulation.client import Object

from localcluster import Cluster, processes

from .bench import CRDS, install_crds


async def kill_component(cluster: Cluster, name: str, away_seconds: float = 0.0) -> None:
    """SIGKILL to a component of the control plane; after a while it starts again with the same arguments."""
    process = processes.recorded(cluster.layout.state, name)
    assert process is not None and process.alive(), f"{name} does not run"
    os.kill(process.pid, signal.SIGKILL)
    while process.alive():
        processes.reap()
        await asyncio.sleep(0.01)
    await asyncio.sleep(away_seconds)
    await asyncio.to_thread(cluster.up)


@contextmanager
def other_crds(cluster: Cluster, folder: Path, change: str) -> Iterator[None]:
    """The CRDs of another version of Kaon, while the context lasts.

    change: `newer` has one more optional field in each spec and status, `older` lacks a field of each status.
    """
    for file in CRDS.glob("*.yaml"):
        crd = yaml.safe_load(file.read_text())
        for version in crd["spec"]["versions"]:
            _change(version["schema"]["openAPIV3Schema"]["properties"], change)
        (folder / file.name).write_text(json.dumps(crd))
    try:
        install_crds(cluster, folder)
        yield
    finally:
        install_crds(cluster)


OLDER_LACKS = "attempts"
NEWER_HAS = "remark"


def _change(properties: Object, change: str) -> None:
    for part in ("spec", "status"):
        fields = properties.get(part, {}).get("properties", {})
        if change == "newer":
            fields[NEWER_HAS] = {"type": "string", "maxLength": 64}
        elif part == "status":
            fields.pop(OLDER_LACKS, None)


def edited_by_hand(child: Object) -> Object | None:
    """A merge patch as a careless hand makes it; None for what is created once and never changed."""
    labels = {"metadata": {"labels": {"app.kubernetes.io/component": "by-hand"}}}
    match child["kind"]:
        case "ConfigMap":
            return {**labels, "data": {next(iter(child["data"])): "by hand"}}
        case "Deployment":
            containers = copy.deepcopy(child["spec"]["template"]["spec"]["containers"])
            containers[0]["image"] = "by/hand:1"
            return {**labels, "spec": {"replicas": 3, "template": {"spec": {"containers": containers}}}}
        case "Service":
            ports = [{**port, "targetPort": 9} for port in child["spec"]["ports"]]
            return {**labels, "spec": {"ports": ports}}
        case "NetworkPolicy":
            return {**labels, "spec": {"ingress": None}}
        case "PodDisruptionBudget":
            return labels
        case _:
            return None
