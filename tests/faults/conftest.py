"""Fixtures of the fault tests: one control plane, and how the pipeline ends on it when nothing goes wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcluster import Cluster

from .bench import SLOW_SECONDS, control_plane, stages
from .driver import surveyed
from .forked import ForkServer
from .scenario import SCENARIOS
from .stand import Ground


@pytest.fixture(scope="session")
def fault_cluster() -> Iterator[Cluster]:
    """A control plane with Kaon's CRDs and a scheduler."""
    with control_plane(f"faults-{os.getpid()}") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def edited(fault_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """The scenario `edit`, with the states that its steps end in."""
    folder: Path = tmp_path_factory.mktemp("faults")

    async def survey() -> Ground:
        async with ForkServer() as forks:
            ground = await surveyed(Ground(fault_cluster, folder, SCENARIOS["edit"], forks=forks))
        return replace(ground, forks=None)

    with stages(fault_cluster):
        return asyncio.run(survey())


@pytest.fixture(scope="module")
def quick_stages(fault_cluster: Cluster, edited: Ground) -> Iterator[None]:
    """Nodes on which stages are done at once."""
    with stages(fault_cluster):
        yield


@pytest.fixture(scope="module")
def slow_stages(fault_cluster: Cluster, edited: Ground) -> Iterator[None]:
    """Nodes on which something can happen while a stage runs."""
    with stages(fault_cluster, SLOW_SECONDS):
        yield
