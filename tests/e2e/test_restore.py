"""The resources are the backup of a pipeline: applied into an empty namespace, every stage is found again."""

from __future__ import annotations

from datetime import datetime

import pytest
from demo import steps
from installation import SYSTEM, Installation
from kube import Object
from pipelines import KINDS, pipeline

NAMESPACE = "e2e-restore"
STAGES = ("dataset", "trainingrun", "compressionjob")
REUSE_SECONDS = 60
"""More than finding an artifact takes on a busy machine, and less than a run."""


def status(kaon: Installation, kind: str) -> Object:
    found = kaon.kube.get(kind, "tiny", NAMESPACE)
    assert found is not None
    status: Object = found["status"]
    return status


@pytest.fixture(scope="module")
def before(kaon: Installation) -> dict[str, Object]:
    """The statuses of a finished pipeline, whose stages ran here."""
    kaon.kube.apply(
        [{**item, "spec": {**item["spec"], "rerun": "before the loss"}} for item in pipeline()], namespace=NAMESPACE
    )
    found = {kind: kaon.kube.until_ready(kind, "tiny", NAMESPACE, timeout=300)["status"] for kind in KINDS}
    assert not any(found[kind]["reused"] for kind in STAGES)
    return found


@pytest.fixture(scope="module")
def restored(kaon: Installation, before: dict[str, Object]) -> dict[str, Object]:
    """As docs/operations.md says it: export, lose the namespace, make it and its access to the store again, apply."""
    backup = kaon.kube("get", "kaon", "-n", NAMESPACE, "-o", "yaml")
    kaon.kube("delete", "namespace", NAMESPACE, timeout=180)
    steps.make_namespaces(kaon.cluster, NAMESPACE)
    kaon.helm("upgrade", "kaon", str(kaon.root / "charts/kaon"), "--reuse-values")
    kaon.kube("rollout", "restart", "deployment/kaon-store", "-n", SYSTEM)
    steps.wait_for_secret(kaon.cluster, NAMESPACE, seconds=120)
    kaon.kube("apply", "-f", "-", stdin=backup)
    return {kind: kaon.kube.until_ready(kind, "tiny", NAMESPACE, timeout=300)["status"] for kind in KINDS}


@pytest.mark.parametrize("kind", STAGES)
def test_every_stage_is_found_again_and_none_is_run(
    kaon: Installation, before: dict[str, Object], restored: dict[str, Object], kind: str
) -> None:
    now = restored[kind]
    assert now["reused"] is True
    assert (now["inputDigest"], now["artifact"]) == (before[kind]["inputDigest"], before[kind]["artifact"])
    job = kaon.kube.get("job", now["jobName"], NAMESPACE)
    assert job is not None and seconds(job) < REUSE_SECONDS
    assert now["attempts"] == 1


def seconds(job: Object) -> float:
    """How long a finished Job took."""
    moments = (datetime.fromisoformat(job["status"][name]) for name in ("startTime", "completionTime"))
    began, ended = moments
    return (ended - began).total_seconds()


def test_the_figures_and_the_verdict_are_those_of_before(
    before: dict[str, Object], restored: dict[str, Object]
) -> None:
    assert restored["trainingrun"]["evaluation"] == before["trainingrun"]["evaluation"]
    assert restored["compressionjob"]["verdict"] == before["compressionjob"]["verdict"]


def test_the_same_model_is_served_and_answers(
    kaon: Installation, before: dict[str, Object], restored: dict[str, Object]
) -> None:
    was, now = before["modeldeployment"]["stable"], restored["modeldeployment"]["stable"]
    assert (now["revision"], now["artifactDigest"]) == (was["revision"], was["artifactDigest"])
    answer = kaon.ask("tiny", NAMESPACE, ["a lovely day"])[0]
    assert answer["label"] in status(kaon, "dataset")["classes"]
