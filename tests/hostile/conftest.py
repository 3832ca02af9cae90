"""Fixtures: one cluster with Kaon's chart for all tests here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # this folder is the package `hostile`

from hostile.world import World, make_ready, running, world


@pytest.fixture(scope="session")
def hostile_world() -> Iterator[World]:
    """A real API server with the chart, and resources for others to refer to."""
    with world(f"hostile-{os.getpid()}") as found:
        with running(found):
            make_ready(found.kubectl)
        yield found
