"""The example with film reviews: trained, served by both servers, its answers counted, with an alert on the shares."""

from __future__ import annotations

import pytest
from demo import steps
from installation import Installation
from kube import Object
from prometheus import definitions
from serving import counting

from kaon.resources.serving_ports import METRICS_PORT

NAMESPACE = "e2e-sentiment"
NAME = "film-reviews"
LIMITS = {"dataset": 180, "trainingrun": 600, "compressionjob": 600, "modeldeployment": 300}
SENTENCES = 200
SERVERS = ("triton", "torchserve")
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def reviews(kaon: Installation) -> dict[str, Object]:
    """The resources of examples/sentiment, Ready, where the kinds of the Prometheus operator are served."""
    kaon.kube.apply(definitions())
    kaon.upload_reviews(NAMESPACE)
    kaon.kube("apply", "-n", NAMESPACE, "-f", "-", stdin=steps.example(kaon.root / "examples/sentiment", NAMESPACE))
    return {kind: kaon.kube.until_ready(kind, NAME, NAMESPACE, timeout=limit) for kind, limit in LIMITS.items()}


def counts(kaon: Installation, server: str) -> dict[str, int]:
    """Class -> answers, of the one pod of that server."""
    pods = kaon.kube.list("pods", NAMESPACE, f"kaon.dev/owner={NAME},app.kubernetes.io/component=server")
    stable = kaon.kube.get("modeldeployment", NAME, NAMESPACE)
    assert stable is not None
    revision = stable["status"]["stable"]["revision"]
    (pod,) = [pod for pod in pods if pod["metadata"]["labels"]["kaon.dev/revision"] == revision]
    told = counting.settled(pod["status"]["podIP"], METRICS_PORT[server])
    assert {model for model, _ in told} == {NAME}
    return {label: count for (_, label), count in told.items()}


def test_the_model_tells_fresh_from_rotten(reviews: dict[str, Object]) -> None:
    assert reviews["dataset"]["status"]["classes"] == ["fresh", "rotten"]
    assert reviews["trainingrun"]["status"]["evaluation"]["metrics"]["accuracy"]["value"] >= 0.7


def test_the_compression_gives_a_verdict_with_evidence(kaon: Installation, reviews: dict[str, Object]) -> None:
    status = reviews["compressionjob"]["status"]
    assert status["verdict"] in ("Accepted", "Inconclusive") and status["sizeRatio"] >= 2
    assert "Verdict" in kaon.read(kaon.file_uri(status["artifact"]["uri"], "report.html")).decode()


@pytest.mark.parametrize("server", SERVERS)
def test_both_servers_answer_as_in_the_evaluation_and_count_each_answer_once(
    kaon: Installation, reviews: dict[str, Object], server: str
) -> None:
    kaon.serve_by(NAME, NAMESPACE, server)
    before = counts(kaon, server)
    # The recorded answers that the pod was tried with are none of its clients'.
    assert before == {"fresh": 0, "rotten": 0}
    rows = kaon.predictions(reviews["compressionjob"]["status"]["artifact"]["uri"], reviews["dataset"], SENTENCES)
    answers = [answer["label"] for answer in kaon.ask(NAME, NAMESPACE, [row["text"] for row in rows])]
    same = sum(answer == row["label"] for answer, row in zip(answers, rows, strict=True))
    assert same / len(rows) >= 0.995
    assert counts(kaon, server) == {label: answers.count(label) for label in before}
    assert len(set(answers)) == 2


def test_the_alert_of_the_example_is_there(kaon: Installation, reviews: dict[str, Object]) -> None:
    rule = kaon.kube.until("prometheusrule", NAME, NAMESPACE, lambda obj: True, timeout=60)
    (alert,) = [
        item
        for group in rule["spec"]["groups"]
        for item in group["rules"]
        if item["alert"].startswith("KaonModelClassShare")
    ]
    assert alert["alert"] == "KaonModelClassShareHigh" and alert["labels"]["class"] == "rotten"
    assert (alert["for"], "[600s]" in alert["expr"], "> 0.5" in alert["expr"]) == ("120s", True, True)
    assert kaon.kube.get("podmonitor", NAME, NAMESPACE) is not None


def test_a_class_that_the_model_lacks_is_told_and_what_serves_goes_on(
    kaon: Installation, reviews: dict[str, Object]
) -> None:
    wanted = '{"spec": {"monitoring": {"alerts": {"classShare": [{"class": "roten", "above": 0.5}]}}}}'
    kaon.kube("patch", "modeldeployment", NAME, "-n", NAMESPACE, "--type=merge", "-p", wanted)
    found = kaon.kube.until(
        "modeldeployment",
        NAME,
        NAMESPACE,
        lambda obj: any(item["reason"] == "ClassUnknown" for item in obj["status"]["conditions"]),
        timeout=60,
        what="stalled",
    )
    (stalled,) = [item for item in found["status"]["conditions"] if item["type"] == "Stalled"]
    assert "'roten'" in stalled["message"] and "'fresh', 'rotten'" in stalled["message"]
    assert kaon.ask(NAME, NAMESPACE, ["A dull and lifeless mess."])[0]["label"] == "rotten"
