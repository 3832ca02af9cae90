"""The examples with tables, from raw file to served answer: classes and a number, on both servers."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from demo import steps
from installation import Installation
from kube import Object
from sklearn.datasets import load_breast_cancer

NAMESPACE = "e2e-tables"
ASKED = 200
EXAMPLES = {"credit-risk": "credit-risk", "medical": "breast-cancer", "apartments": "apartments"}
"""Folder -> name of its resources."""
LIMITS = {"dataset": 180, "trainingrun": 900, "compressionjob": 1200, "modeldeployment": 300}
# The first test waits for all three pipelines.
pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True)
class Example:
    """A pipeline whose resources are Ready."""

    name: str
    resources: Mapping[str, Object]

    def status(self, kind: str) -> Object:
        """Of one of its resources."""
        found: Object = self.resources[kind]["status"]
        return found


@pytest.fixture(scope="module")
def tables(kaon: Installation) -> Mapping[str, Example]:
    """The examples, by folder."""
    with tempfile.TemporaryDirectory() as folder:
        cancer = Path(folder) / "breast-cancer.csv"
        write_breast_cancer(cancer)
        kaon.upload(kaon.example_tables() | {"raw/medical/breast-cancer.csv": cancer}, NAMESPACE)
    for example in EXAMPLES:
        manifests = steps.example(kaon.root / "examples" / example, NAMESPACE)
        kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=manifests)
    return {
        example: Example(
            name, {kind: kaon.kube.until_ready(kind, name, NAMESPACE, timeout=LIMITS[kind]) for kind in LIMITS}
        )
        for example, name in EXAMPLES.items()
    }


def write_breast_cancer(file: Path) -> None:
    """The table as the example's README has it written."""
    found: Any = load_breast_cancer()
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow([*found.feature_names, "target"])
        writer.writerows([*map(float, row), int(label)] for row, label in zip(found.data, found.target, strict=True))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_plain_model_stands_beside_the_trained_one(tables: Mapping[str, Example], example: str) -> None:
    evaluation = tables[example].status("trainingrun")["evaluation"]
    assert evaluation["baseline"]["metrics"].keys() <= evaluation["metrics"].keys()
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in evaluation["metrics"].values()
               if "low" in figure)  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_compression_gives_a_verdict_with_evidence(
    kaon: Installation, tables: Mapping[str, Example], example: str
) -> None:
    status = tables[example].status("compressionjob")
    assert status["verdict"] in ("Accepted", "Inconclusive")
    assert status["sizeRatio"] > 1
    report = kaon.read(kaon.file_uri(status["artifact"]["uri"], "report.html")).decode()
    assert "Verdict" in report


@pytest.mark.parametrize("server", ["triton", "torchserve"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_both_servers_answer_as_the_model_did_in_its_evaluation(
    kaon: Installation, tables: Mapping[str, Example], example: str, server: str
) -> None:
    found = tables[example]
    kaon.serve_by(found.name, NAMESPACE, server)
    deployed = kaon.kube.get("modeldeployment", found.name, NAMESPACE)
    assert deployed is not None
    made_by = deployed["spec"]["modelRef"]["kind"].lower()
    rows, predicted = kaon.evaluated(found.status(made_by)["artifact"]["uri"], found.status("dataset"), ASKED)
    answers = kaon.ask_rows(found.name, NAMESPACE, rows)
    same = [agrees(answer, expected) for answer, expected in zip(answers, predicted, strict=True)]
    assert sum(same) / len(same) >= 0.995


def agrees(answer: Object, expected: str | float) -> bool:
    """Whether a server's answer is the class, or the number, that the evaluation predicted."""
    if isinstance(expected, str):
        return bool(answer["label"] == [expected])
    (value,) = answer["prediction"]
    return bool(value == pytest.approx(expected, rel=1e-5, abs=1e-6))


def test_a_gate_that_names_a_metric_of_another_task_never_starts_a_pod(
    kaon: Installation, tables: Mapping[str, Example]
) -> None:
    run = {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "wrong-gate"},
        "spec": {"datasetRef": {"name": "apartments"}, "evaluation": {"minimum": {"accuracy": 0.9}}},
    }
    kaon.kube.apply([run], namespace=NAMESPACE)
    found = kaon.kube.until(
        "trainingrun",
        "wrong-gate",
        NAMESPACE,
        lambda obj: any(item["reason"] == "MetricUnknown" for item in obj.get("status", {}).get("conditions", [])),
        timeout=60,
        what="stalled",
    )
    (stalled,) = [item for item in found["status"]["conditions"] if item["type"] == "Stalled"]
    assert "rmse, mae, r2" in stalled["message"]
    assert kaon.kube.list("jobs", NAMESPACE, "kaon.dev/owner=wrong-gate") == []
