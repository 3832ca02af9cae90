"""What goes wrong is named, with its cause and the way out, and starts no storm of retries. Each on real pods."""

from __future__ import annotations

import json

import pytest
from installation import Installation
from kube import Object, condition
from pipelines import compression, dataset, deployment, training

NAMESPACE = "e2e-failures"


@pytest.fixture(scope="module", autouse=True)
def good(kaon: Installation) -> None:
    """A pipeline that is well, for the failures of what comes after it."""
    kaon.kube.apply([dataset(), training()], namespace=NAMESPACE)
    kaon.kube.until_ready("trainingrun", "tiny", NAMESPACE, timeout=300)


def pods_of(kaon: Installation, name: str) -> list[Object]:
    return kaon.kube.list("pods", NAMESPACE, f"kaon.dev/owner={name}")


def test_a_missing_reference_is_waited_for_by_name(kaon: Installation) -> None:
    kaon.kube.apply([training("orphan", datasetRef={"name": "nowhere"})], namespace=NAMESPACE)
    message = kaon.kube.until_reason("trainingrun", "orphan", NAMESPACE, "ReferenceNotFound", timeout=20)
    assert "'nowhere'" in message and "Create it" in message
    assert pods_of(kaon, "orphan") == []


@pytest.mark.parametrize(
    ("name", "spec", "reason", "told"),
    [
        (
            "no-label",
            {"schema": {"features": [{"name": "text"}], "label": {"name": "mood"}}},
            "LabelColumnMissing",
            ("mood", "among the 2 in its first line"),
        ),
        (
            "pinned",
            {"sources": [{"uri": "s3://kaon/NAMESPACE/raw/tiny/train.csv", "digest": "sha256:" + "0" * 64}]},
            "SourceDigestMismatch",
            ("sha256:" + "0" * 64, f"s3://kaon/{NAMESPACE}/raw/tiny/train.csv"),
        ),
        ("empty", {"sources": [{"uri": "s3://kaon/NAMESPACE/raw/tiny/empty.csv"}]}, "SourceEmpty", ("empty.csv",)),
        (
            "absent",
            {"sources": [{"uri": "s3://kaon/NAMESPACE/raw/tiny/absent.csv"}]},
            "SourceNotFound",
            ("absent.csv",),
        ),
        (
            "refused",
            {"storage": {"uri": "s3://kaon", "secretRef": {"name": "wrong-key"}}},
            "StoreAccessDenied",
            ("wrong-key",),
        ),
        (
            "foreign-source",
            {"sources": [{"uri": "s3://kaon/e2e-pipeline/raw/tiny/train.csv"}]},
            "StoreAccessDenied",
            ("s3://kaon/e2e-pipeline/raw/tiny",),
        ),
        (
            "foreign-folder",
            {"storage": {"uri": "s3://kaon/e2e-pipeline", "secretRef": {"name": "kaon-store"}}},
            "StoreAccessDenied",
            ("s3://kaon/e2e-pipeline",),
        ),
        (
            "no-secret",
            {"storage": {"uri": "s3://kaon", "secretRef": {"name": "not-there"}}},
            "StoreAccessDenied",
            ("not-there",),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_input_fails_once_and_names_what_was_found(
    kaon: Installation, name: str, spec: Object, reason: str, told: tuple[str, ...]
) -> None:
    kaon.wrong_key_secret("wrong-key", NAMESPACE)
    kaon.kube.apply([dataset(name, **spec)], namespace=NAMESPACE)
    stalled = kaon.kube.until_stalled("dataset", name, NAMESPACE, timeout=90)
    assert stalled["reason"] == reason
    for part in told:
        assert part in stalled["message"]
    assert len(pods_of(kaon, name)) == 1


def test_a_pod_killed_for_memory_names_the_limit_and_the_field(kaon: Installation) -> None:
    template = {"resources": {"limits": {"memory": "100Mi"}}}
    kaon.kube.apply([training("greedy", podTemplate=template, backoffLimit=1, rerun="greedy")], namespace=NAMESPACE)
    stalled = kaon.kube.until_stalled("trainingrun", "greedy", NAMESPACE, timeout=180)
    assert stalled["reason"] == "OutOfMemory"
    assert "100Mi" in stalled["message"] and "limits.memory" in stalled["message"]
    assert len(pods_of(kaon, "greedy")) == 2


def test_a_budget_that_cannot_be_met_is_infeasible_and_names_the_nearest(kaon: Installation) -> None:
    kaon.kube.apply(
        [compression("dream", budget={"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 50})], namespace=NAMESPACE
    )
    stalled = kaon.kube.until_stalled("compressionjob", "dream", NAMESPACE, timeout=120)
    assert stalled["reason"] == "BudgetInfeasible"
    assert "50" in stalled["message"] and "nearest" in stalled["message"].lower()
    obj = kaon.kube.get("compressionjob", "dream", NAMESPACE)
    assert obj and obj["status"]["verdict"] == "Infeasible" and "artifact" not in obj["status"]


def test_an_unschedulable_gpu_request_says_what_no_node_has(kaon: Installation) -> None:
    template = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    kaon.kube.apply([training("gpu", podTemplate=template)], namespace=NAMESPACE)
    message = kaon.kube.until_reason("trainingrun", "gpu", NAMESPACE, "Unschedulable", timeout=30)
    assert "nvidia.com/gpu" in message and "podTemplate" in message
    kaon.kube("delete", "trainingrun", "gpu", "-n", NAMESPACE)


def test_an_image_that_cannot_be_pulled_is_named(kaon: Installation) -> None:
    with kaon.with_images(jobs="localhost/kaon/nowhere:none"):
        kaon.kube.apply([dataset("unpulled", rerun="unpulled")], namespace=NAMESPACE)
        message = kaon.kube.until_reason("dataset", "unpulled", NAMESPACE, "ImagePullFailed", timeout=60)
    assert "localhost/kaon/nowhere:none" in message
    kaon.kube("delete", "dataset", "unpulled", "-n", NAMESPACE)


def test_a_typo_is_refused_by_the_api_server(kaon: Installation) -> None:
    typo = training("typo", recipe={"epochz": 3})
    said = kaon.kube.apply([typo], namespace=NAMESPACE, check=False)
    assert 'unknown field "epochz"' in said
    # kubectl asked the server for the schema; clients that do not are refused by the server itself.
    path = f"/apis/kaon.dev/v1alpha1/namespaces/{NAMESPACE}/trainingruns?fieldValidation=Strict"
    said = kaon.kube("create", "--raw", path, "-f", "-", stdin=json.dumps(typo), check=False)
    assert 'unknown field "spec.recipe.epochz"' in said
    assert kaon.kube.get("trainingrun", "typo", NAMESPACE) is None


def test_an_artifact_with_one_byte_changed_is_refused_and_the_old_one_keeps_serving(kaon: Installation) -> None:
    served = deployment("served", modelRef={"kind": "TrainingRun", "name": "tiny"})
    kaon.kube.apply([served], namespace=NAMESPACE)
    old = kaon.kube.until_ready("modeldeployment", "served", NAMESPACE, timeout=180)["status"]["stable"]
    kaon.kube.apply(
        [deployment("served", modelRef={"kind": "TrainingRun", "name": "tiny"}, suspend=True)], namespace=NAMESPACE
    )
    kaon.kube.apply([training(rerun="to be damaged")], namespace=NAMESPACE)
    new = kaon.kube.until_ready("trainingrun", "tiny", NAMESPACE, timeout=180)["status"]["artifact"]
    assert new["digest"] != old["artifactDigest"]
    kaon.flip_byte(new["uri"], "model.onnx")
    kaon.kube.apply([served], namespace=NAMESPACE)
    stalled = kaon.kube.until_stalled("modeldeployment", "served", NAMESPACE, timeout=120)
    assert "model.onnx" in stalled["message"]
    obj = kaon.kube.get("modeldeployment", "served", NAMESPACE)
    assert obj and obj["status"]["stable"]["artifactDigest"] == old["artifactDigest"]
    ready = condition(obj, "Ready")
    assert ready and ready["status"] == "False"
    assert kaon.ask("served", NAMESPACE, ["a lovely day"])[0]["label"]
    kaon.kube("delete", "modeldeployment", "served", "-n", NAMESPACE)
