"""Kaon from Git through Argo CD: health follows the pipeline, nothing drifts, edits arrive, nothing stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
DIGEST = "sha256:" + "ab" * 32
CHILDREN = "jobs,reports,deployments,configmaps,services,serviceaccounts,rolebindings,datasets,trainingruns"
QUIET_SECONDS = 120
EVALUATION = {
    "split": "test",
    "rows": 2189,
    "metrics": {"accuracy": {"value": 0.97}, "macroF1": {"value": 0.92}},
    "sizeBytes": 91_000_000,
}
DATASET = {
    "artifact": {"uri": "s3://kaon/artifacts/datasets/x", "digest": DIGEST, "sizeBytes": 10},
    "dataset": {
        "rows": {"train": 4937, "validation": 548, "test": 2189},
        "classes": ["acq", "earn"],
        "quality": {
            **{"rowsRead": 7674, "missing": 0, "duplicates": 0, "missingRatio": 0, "duplicateRatio": 0},
            **{"leakage": 0, "minRowsPerClass": 40, "smallestClass": "grain"},
        },
    },
}
TRAINING = {
    "artifact": {"uri": "s3://kaon/artifacts/trainingruns/x", "digest": DIGEST, "sizeBytes": 10},
    "training": {"evaluation": EVALUATION, "datasetDigest": DIGEST},
}


def test_the_example_applications_are_applications(argo: Any, kube: Any) -> None:
    for name in ("kaon", "r8"):
        file = ROOT / "examples" / "argocd" / f"application-{name}.yaml"
        assert "created (server dry run)" in kube("apply", "--dry-run=server", "-f", str(file))


@pytest.fixture(params=[[], ["ServerSideApply=true"]], ids=["client-side", "server-side"])
def options(request: pytest.FixtureRequest) -> list[str]:
    """The sync options under which everything must hold."""
    found: list[str] = request.param
    return found


@pytest.fixture
def chart(argo: Any, repository: Any, options: list[str], until: Callable[..., Any]) -> Any:
    """Kaon itself, synced from its chart. No operator pod: there is no node, the operator runs as a process."""
    values = {"crds": {"keep": False}, "operator": {"replicas": 0}}
    source = {"repoURL": repository.url, "path": "charts/kaon", "helm": {"releaseName": "kaon", "valuesObject": values}}
    argo.create("kaon", source, "kaon-system", options)
    until(lambda: argo.sync("kaon") == "Synced", "the chart synced", 90)
    yield
    argo.delete("kaon")


def test_a_pipeline_from_git(
    argo: Any,
    chart: Any,
    operator: None,
    kube: Any,
    repository: Any,
    options: list[str],
    stages: Callable[[str], Any],
    until: Callable[..., Any],
) -> None:
    until(lambda: argo.status("kaon").get("health", {}).get("status") == "Healthy", "the chart healthy")
    namespace = f"team-{'ssa' if options else 'csa'}"
    argo.create("r8", {"repoURL": repository.url, "path": "examples/r8"}, namespace, options)
    pods = stages(namespace)

    # Health follows the pipeline, stage by stage.
    until(lambda: argo.sync("r8") == "Synced", "the example synced", 90)
    until(lambda: pods.job("Dataset"), "a Job of the Dataset")
    for kind in ("Dataset", "TrainingRun", "CompressionJob", "ModelDeployment"):
        until(lambda kind=kind: argo.health("r8", kind) == "Progressing", f"{kind} progressing")
    pods.succeed("Dataset", DATASET)
    until(lambda: argo.health("r8", "Dataset") == "Healthy", "a healthy Dataset")
    pods.succeed("TrainingRun", TRAINING)
    until(lambda: argo.health("r8", "TrainingRun") == "Healthy", "a healthy TrainingRun")
    pods.fail("CompressionJob", "ModelUnreadable", "model.onnx is not an ONNX model")
    until(lambda: argo.health("r8", "CompressionJob") == "Degraded", "a degraded CompressionJob")
    assert argo.health("r8", "ModelDeployment") == "Progressing"

    # Nobody changes what Git says, the API server's defaults and the operator included, while healing runs each second.
    history = len(argo.status("r8")["history"]), len(argo.status("kaon")["history"])
    end = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < end:
        for name in ("kaon", "r8"):
            status = argo.status(name)
            differing = [found for found in status["resources"] if found.get("status") == "OutOfSync"]
            assert status["sync"]["status"] == "Synced", differing
        time.sleep(2)
    assert (len(argo.status("r8")["history"]), len(argo.status("kaon")["history"])) == history

    # The children are the operator's: Argo CD neither lists nor prunes them.
    assert {found["kind"] for found in argo.status("r8")["resources"]} <= {
        *("Dataset", "TrainingRun", "CompressionJob", "ModelDeployment", "Namespace"),
    }

    # An edit arrives and runs what it changes.
    repository.edit("compressionjob.yaml", lambda manifest: manifest["spec"].update(objective="size"))
    argo.refresh("r8")
    until(lambda: pods.job("CompressionJob"), "a new Job of the CompressionJob", 90)
    until(lambda: argo.health("r8", "CompressionJob") == "Progressing", "the edit under way")
    jobs = [job["metadata"]["labels"]["kaon.dev/owner-kind"] for job in kube.list("jobs", namespace)]
    assert jobs.count("Dataset") == 1 and jobs.count("TrainingRun") == 1

    # A removal is pruned, with its children.
    repository.remove("compressionjob.yaml")
    argo.refresh("r8")
    until(lambda: not kube.list("compressionjobs", namespace), "the pruned CompressionJob", 90)
    left = ("CompressionJob",)
    until(
        lambda: (
            not [
                child
                for child in kube.list("jobs,reports", namespace)
                if child["metadata"]["labels"].get("kaon.dev/owner-kind") in left
            ]
        ),
        "its collected children",
    )
    until(lambda: argo.sync("r8") == "Synced", "synced again", 90)
    assert argo.health("r8", "TrainingRun") == "Healthy"

    # Deleting the Application and the namespace leaves nothing: no finalizer holds anything back.
    argo.delete("r8")
    until(lambda: not kube.list("datasets,trainingruns,modeldeployments,jobs,reports", namespace), "all collected")
    kube("delete", "namespace", namespace, "--timeout=60s")
    assert kube.get("namespace", namespace, "default") == {}
