"""The example of the README with real data and weights: Reuters R8 and MiniLM-L6, from raw text to a served answer."""

from __future__ import annotations

import pytest
from demo import steps
from installation import Installation
from kube import Object

NAMESPACE = "e2e-r8"
KINDS = ("dataset", "trainingrun", "compressionjob", "modeldeployment")
SENTENCES = 200
# The first test waits for training and compression: ten minutes, and several times that on a busy machine.
pytestmark = pytest.mark.timeout(4500)


@pytest.fixture(scope="module")
def r8(kaon: Installation) -> dict[str, Object]:
    """The four resources of examples/r8, Ready."""
    kaon.upload_r8(NAMESPACE)
    kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=steps.example(kaon.root / "examples/r8", NAMESPACE))
    limits = {"dataset": 180, "trainingrun": 1800, "compressionjob": 1800, "modeldeployment": 300}
    return {kind: kaon.kube.until_ready(kind, "reuters-r8", NAMESPACE, timeout=limits[kind]) for kind in KINDS}


def test_the_data_are_the_whole_of_r8(r8: dict[str, Object]) -> None:
    status = r8["dataset"]["status"]
    assert len(status["classes"]) == 8
    assert status["rows"]["test"] in (2189, 2190)
    assert status["quality"]["leakage"] == 0


def test_the_trained_model_reaches_94_percent_on_the_test_documents(r8: dict[str, Object]) -> None:
    evaluation = r8["trainingrun"]["status"]["evaluation"]
    assert evaluation["rows"] in (2189, 2190)
    assert evaluation["metrics"]["accuracy"]["value"] >= 0.94


def test_the_compression_keeps_its_budget_and_is_smaller_and_measurably_faster(r8: dict[str, Object]) -> None:
    status = r8["compressionjob"]["status"]
    assert status["verdict"] == "Accepted"
    assert status["sizeRatio"] >= 10
    assert status["drops"]["accuracy"] <= 0.01 and status["drops"]["macroF1"] <= 0.04
    assert status["speedup"]["low"] > 1


@pytest.mark.parametrize("server", ["triton", "torchserve"])
def test_answers_through_the_router_equal_the_evaluations_own_predictions(
    kaon: Installation, r8: dict[str, Object], server: str
) -> None:
    kaon.serve_by("reuters-r8", NAMESPACE, server)
    assert kaon.agreement("reuters-r8", NAMESPACE, r8["compressionjob"], r8["dataset"], SENTENCES) >= 0.995


@pytest.fixture(scope="module")
def linear(kaon: Installation, r8: dict[str, Object]) -> dict[str, Object]:
    """The two resources of examples/r8-linear, Ready."""
    kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=steps.example(kaon.root / "examples/r8-linear", NAMESPACE))
    kinds = ("trainingrun", "modeldeployment")
    return {kind: kaon.kube.until_ready(kind, "reuters-r8-linear", NAMESPACE, timeout=600) for kind in kinds}


def test_the_linear_model_is_as_good_as_the_encoder_in_a_fiftieth_of_the_bytes(
    r8: dict[str, Object], linear: dict[str, Object]
) -> None:
    encoder, found = (run["status"]["evaluation"] for run in (r8["trainingrun"], linear["trainingrun"]))
    assert found["metrics"]["accuracy"]["value"] >= 0.965
    assert found["sizeBytes"] * 50 < encoder["sizeBytes"]


@pytest.mark.parametrize("server", ["triton", "torchserve"])
def test_both_servers_answer_as_the_linear_model_did_in_its_evaluation(
    kaon: Installation, r8: dict[str, Object], linear: dict[str, Object], server: str
) -> None:
    kaon.serve_by("reuters-r8-linear", NAMESPACE, server)
    same = kaon.agreement("reuters-r8-linear", NAMESPACE, linear["trainingrun"], r8["dataset"], SENTENCES)
    assert same >= 0.995


def test_kubectl_diff_of_the_example_is_empty(kaon: Installation, r8: dict[str, Object]) -> None:
    manifests = steps.example(kaon.root / "examples/r8", NAMESPACE)
    kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=manifests)
    assert kaon.kube("diff", "-n", NAMESPACE, "-f", "-", stdin=manifests, check=False) == ""
