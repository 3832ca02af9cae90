"""One cluster and one installation for all end-to-end tests; they stay up, so that the next run begins warm.

KAON_E2E_CLUSTER names the cluster (default: kaon-e2e; the demo has another). Each run makes the namespaces again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from demo import steps
from installation import Installation, say
from pipelines import KINDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The audit of rights reads what all the others did."""
    items.sort(key=lambda item: item.path.name == "test_privileges.py")


@pytest.fixture(scope="session")
def kaon() -> Installation:
    """Kaon on a real node: cluster, images, chart, the tiny model and its data in the store."""
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests start a real Kubernetes node: run them as root")
    cluster = steps.bring_up(os.environ.get("KAON_E2E_CLUSTER", "kaon-e2e"), say, audit=True)
    installation = Installation(cluster, steps.build_images(cluster, say))
    installation.remove()
    installation.install()
    installation.upload_tiny()
    return installation


@pytest.fixture(scope="module", autouse=True)
def emptied(request: pytest.FixtureRequest, kaon: Installation) -> Iterator[None]:
    """What one file's tests leave is taken away: its servers would keep the processors that the next one's need."""
    yield
    kaon.kube("delete", ",".join(KINDS), "--all", "-n", request.module.NAMESPACE, timeout=120)
