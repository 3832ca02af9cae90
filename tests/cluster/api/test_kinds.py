"""What kubectl shows and does with the kinds: names, columns, scale, status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from crd_samples import MINIMAL, USER_KINDS
from metricvalues import metrics, wire

from kaon.api.evaluation import Evaluation
from kaon.api.report import CompressionResult
from kaon.api.schema import Kind
from kaon.controllers import display
from kaon.tasks.text_classification import TASK

NOW = "2026-01-02T03:04:05Z"


def resource(kind: str, namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", "namespace": namespace},
        "spec": {**MINIMAL[kind], **spec},
    }


def table(text: str) -> dict[str, str]:
    """Column -> value of a one-row table; columns are found by their headings' places."""
    heading, row = text.splitlines()[:2]
    names = heading.split()
    places = [heading.index(name) for name in names] + [len(row) + 1]
    return {name: row[start:end].strip() for name, start, end in zip(names, places[:-1], places[1:], strict=True)}


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": NOW}


@pytest.mark.parametrize("kind", USER_KINDS, ids=lambda kind: kind.kind)
def test_a_kind_answers_to_its_short_name_and_to_the_category(kubectl: Any, namespace: str, kind: Kind) -> None:
    kubectl.apply(resource(kind.kind, namespace))
    named = f"{kind.kind.lower()}.kaon.dev/x"
    assert kubectl("get", kind.short_names[0], "-n", namespace, "-o", "name").strip() == named
    assert named in kubectl("get", "kaon", "-n", namespace, "-o", "name").splitlines()


def test_the_columns_of_a_dataset_say_how_it_is_going(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("Dataset", namespace))
    status = {
        "phase": "Running",
        "progress": {"percent": 42.7},
        "rows": {"train": 80, "validation": 10, "test": 10},
        "conditions": [condition("Ready", "False", "Running", "reading train.csv")],
    }
    kubectl.patch_status("dset", "x", namespace, status)
    shown = table(kubectl("get", "dset", "x", "-n", namespace, "-o", "wide"))
    assert (shown["PHASE"], shown["PROGRESS%"], shown["TRAIN"], shown["TEST"]) == ("Running", "42", "80", "10")
    assert (shown["REASON"], shown["MESSAGE"]) == ("Running", "reading train.csv")
    assert "MESSAGE" not in kubectl("get", "dset", "x", "-n", namespace)


def test_the_columns_of_a_training_run_show_its_figures(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("TrainingRun", namespace))
    found = Evaluation(split="test", rows=10, metrics=metrics(accuracy=0.970306, macroF1=0.9136))
    status = {"phase": "Succeeded", "evaluation": found.wire(), "display": display.of_training(TASK, found)}
    kubectl.patch_status("trun", "x", namespace, status)
    shown = table(kubectl("get", "trun", "x", "-n", namespace))
    assert (shown["PHASE"], shown["QUALITY"]) == ("Succeeded", "accuracy 0.970, macro-F1 0.914")


def test_the_columns_of_a_compression_show_what_was_won(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("CompressionJob", namespace))
    won: dict[str, Any] = {"sizeRatio": 12.8678, "speedup": {"value": 3.871418, "low": 3.8, "high": 3.9}}
    won |= {"verdict": "Accepted", "evaluation": {"split": "test", "rows": 10, "metrics": wire(accuracy=0.970306)}}
    told = {"message": "", "baseline": won["evaluation"], "sourceDigest": "sha256:" + "0" * 64}
    figures = display.of_compression(TASK, CompressionResult.model_validate(won | told))
    kubectl.patch_status("cjob", "x", namespace, {"phase": "Succeeded", **won, "display": figures})
    shown = table(kubectl("get", "cjob", "x", "-n", namespace))
    assert (shown["VERDICT"], shown["SMALLER"], shown["FASTER"]) == ("Accepted", "12.87x", "3.87x")
    assert shown["QUALITY"] == "accuracy 0.970"


def test_the_columns_of_a_deployment_show_replicas_and_url(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("ModelDeployment", namespace))
    status = {"phase": "Ready", "replicas": 2, "readyReplicas": 1, "url": "http://x.ns.svc/v2/models/x/infer"}
    kubectl.patch_status("mdep", "x", namespace, status)
    shown = table(kubectl("get", "mdep", "x", "-n", namespace))
    assert (shown["READY"], shown["REPLICAS"], shown["URL"]) == ("1", "2", "http://x.ns.svc/v2/models/x/infer")


def test_kubectl_scale_sets_the_replicas_of_a_deployment(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("ModelDeployment", namespace, replicas=1))
    kubectl.patch_status("mdep", "x", namespace, {"replicas": 1, "selector": "app=x"})
    kubectl("scale", "mdep", "x", "-n", namespace, "--replicas=3")
    scale = kubectl("get", "mdep", "x", "-n", namespace, "--subresource=scale", "-o", "json")
    assert '"selector": "app=x"' in scale
    scaled = kubectl.get("mdep", "x", namespace)
    assert scaled is not None and scaled["spec"]["replicas"] == 3


def test_an_edit_of_the_spec_raises_the_generation_and_a_status_does_not(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("TrainingRun", namespace))
    kubectl.patch_status("trun", "x", namespace, {"phase": "Running"})
    before = kubectl.get("trun", "x", namespace)
    kubectl.apply(resource("TrainingRun", namespace, recipe={"epochs": 5}))
    after = kubectl.get("trun", "x", namespace)
    assert before is not None and after is not None
    assert (before["metadata"]["generation"], after["metadata"]["generation"]) == (1, 2)
    assert after["status"] == {"phase": "Running"}


def test_a_report_takes_progress_and_a_result_but_no_nonsense(kubectl: Any, namespace: str) -> None:
    report = {
        "apiVersion": "kaon.dev/v1alpha1",
        "kind": "Report",
        "metadata": {"name": "r", "namespace": namespace},
        "spec": {"stage": "dataset", "jobName": "r", "inputDigest": "sha256:" + "0" * 64},
    }
    kubectl.apply(report)
    kubectl.patch_status("report", "r", namespace, {"pod": "r-0-abcde", "progress": {"percent": 10}})
    patch = '{"status": {"progress": {"percent": 200}}}'
    refusal = kubectl(
        *("patch", "report", "r", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch), check=False
    )
    assert "status.progress.percent" in refusal


def test_a_map_that_is_applied_empty_is_empty(kubectl: Any, namespace: str) -> None:
    kubectl.apply(resource("TrainingRun", namespace))
    flags = ("--server-side", "--subresource=status", "--field-manager=kaon", "-f", "-")
    for figures in ({"loss": 1.5}, {}):
        obj = resource("TrainingRun", namespace) | {"status": {"progress": {"percent": 1, "metrics": figures}}}
        kubectl("apply", *flags, stdin=json.dumps(obj))
        stored = kubectl.get("trun", "x", namespace)
        assert stored is not None and stored["status"]["progress"]["metrics"] == figures
