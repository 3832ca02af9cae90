"""Kinds that come and go under a running operator: a sample of crd_accidents.py, on a control plane of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from crd_accidents import ACCIDENTS, KINDS, LIMIT_SECONDS, Accident, Scene

from localcluster import Cluster

SAMPLE = {
    "one CRD is deleted and made again at once",
    "one CRD is deleted and made again later",
    "the CRDs are made after the operator has started",
}
CHOSEN = [accident for accident in ACCIDENTS if accident.name in SAMPLE]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A control plane whose CRDs nobody else needs."""
    found = Cluster(f"crds-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    found.up()
    yield found
    found.down()


@pytest.mark.parametrize("accident", CHOSEN, ids=lambda accident: accident.name)
def test_a_new_object_is_seen_within_seconds_when(accident: Accident, cluster: Cluster) -> None:
    assert len(CHOSEN) == len(SAMPLE)
    with Scene(cluster).opened() as scene:
        took = accident.go(scene, KINDS[CHOSEN.index(accident) % len(KINDS)])
    assert took < LIMIT_SECONDS
