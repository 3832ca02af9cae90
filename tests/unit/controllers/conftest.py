"""What the tests of the controllers share."""

from __future__ import annotations

import pytest

from kaon.controllers import compressionjob, dataset, trainingrun

from .world import World


@pytest.fixture
def world() -> World:
    """Of the three stages that run a Job."""
    return World(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER)
