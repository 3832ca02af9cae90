"""Fixtures: the chart on a real API server, the operator under its own account, two teams, and a user who may edit."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # for the package `hostile`, which has such a cluster

from harness import OperatorProcess
from hostile.world import World, make_ready, running, world
from security.attempts import ALLOWED_ACCOUNTS, Server, Team


@pytest.fixture(scope="session")
def chart_world() -> Iterator[World]:
    """A control plane with the chart."""
    with world(f"security-{os.getpid()}", audit=True) as found:
        yield found


@pytest.fixture(scope="module")
def operator(chart_world: World) -> Iterator[OperatorProcess]:
    """The operator, with the chart's rights and no other."""
    with running(chart_world, f"--allowed-service-accounts={','.join(ALLOWED_ACCOUNTS)}") as found:
        yield found


@pytest.fixture(scope="module")
def make_team(chart_world: World, operator: OperatorProcess) -> Iterator[Callable[[], Team]]:
    """make_team(): a namespace that enforces Pod Security "restricted", with upstream resources that are Ready."""
    made: list[str] = []
    server = Server(chart_world.cluster.server, chart_world.cluster.layout.pki)

    def make() -> Team:
        name = f"team-{uuid.uuid4().hex[:6]}"
        made.append(name)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        kubectl = chart_world.kubectl
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        kubectl("create", "rolebinding", "jane", "-n", name, "--clusterrole=edit", "--user=jane")
        make_ready(kubectl, name)
        return Team(server, name)

    yield make
    for name in made:
        chart_world.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def team(make_team: Callable[[], Team]) -> Team:
    """The team that is attacked."""
    return make_team()


@pytest.fixture(autouse=True)
def no_defect(operator: OperatorProcess) -> Iterator[None]:
    """Whatever is tried, the operator does nothing that it calls a defect of its own."""
    before = len(operator.log)
    yield
    told = [json.loads(line) for line in operator.log[before:].splitlines() if line.startswith("{")]
    assert [line for line in told if "defect" in line["msg"]] == [] and operator.process.poll() is None
