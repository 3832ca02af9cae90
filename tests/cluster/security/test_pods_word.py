"""A stage's pod, played with nothing but its token: its word alone makes nothing Ready, and takes nothing back."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from harness import eventually
from hostile.world import World
from knownkeys import ROOT_KEY, TRUST, told
from security.attempts import Object, Team, ready
from simulation.results import finished

from kaon.contract.attestation import attest
from kaon.contract.trust import TrustDomains

Say = Callable[[str, Object], Object]
"""(name of a Report, its status) -> the API server's answer to the pod."""


@pytest.fixture
def pod_of(team: Team, chart_world: World) -> Callable[[Object], tuple[Object, Say]]:
    """pod_of(resource): its Report, and what its pod may say by its own token, of an hour and bound to the pod."""

    def find(obj: Object) -> tuple[Object, Say]:
        name = obj["status"]["jobName"]
        token = team.token_of_a_pod(name)
        report = eventually(lambda: team.get("Report", name), f"Report {name}")
        return report, lambda report, status: _patch(chart_world, team, token, report, status)

    return find


def _patch(world: World, team: Team, token: str, report: str, status: Object) -> Object:
    tls = ssl.create_default_context(cafile=str(world.cluster.layout.pki / "ca.crt"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
    request = urllib.request.Request(
        world.cluster.server + team.path("Report", report, "status"),
        json.dumps({"status": status}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"},
        method="PATCH",
    )
    try:
        with opener.open(request, timeout=30) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    found: Object = json.loads(text)
    return found


def true_status(report: Object) -> Object:
    """What the stage's program would report, signed."""
    return {**finished(told(report).wire(), "the-pod"), "error": None}


def unsigned(report: Object) -> Object:
    return {name: value for name, value in true_status(report).items() if name != "resultSignature"}


def better(report: Object) -> Object:
    said = true_status(report)
    rows = {**said["result"]["dataset"]["rows"], "train": 1_000_000}
    return {**said, "result": {**said["result"], "dataset": {**said["result"]["dataset"], "rows": rows}}}


def elsewhere(report: Object) -> Object:
    said = true_status(report)
    artifact = {**said["result"]["artifact"], "uri": "https://elsewhere.example/model"}
    return {**said, "result": {**said["result"], "artifact": artifact}}


def other_digest(report: Object) -> Object:
    said = true_status(report)
    artifact = {**said["result"]["artifact"], "digest": "sha256:" + "0" * 64}
    return {**said, "result": {**said["result"], "artifact": artifact}}


def other_program(report: Object) -> Object:
    evaluation = {"split": "test", "rows": 1, "metrics": {"accuracy": {"value": 1.0}}}
    said = true_status(report)
    figures = {"training": {"evaluation": evaluation, "datasetDigest": "sha256:" + "0" * 64}}
    return {**said, "result": {**{k: v for k, v in said["result"].items() if k != "dataset"}, **figures}}


def with_key(trust: TrustDomains, namespace: str) -> Callable[[Object], Object]:
    """Signed with another key."""

    def say(report: Object) -> Object:
        said = true_status(report)
        return {**said, "resultSignature": attest(told(report), said["result"], trust.key(namespace))}

    return say


LIES: dict[str, Callable[[Object], Object]] = {
    "no signature": unsigned,
    "another figure": better,
    "another URI": elsewhere,
    "another digest": other_digest,
    "another program": other_program,
    "another namespace's key": with_key(TRUST, "neighbour"),
    "a shared domain's key": with_key(TrustDomains(ROOT_KEY, {"x": "ml"}), "x"),
    "another installation's key": with_key(TrustDomains(bytes(32)), "neighbour"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_result_by_the_token_alone_makes_nothing_ready(team: Team, pod_of: Any, lie: str) -> None:
    obj = team.made(team.resource("Dataset", f"lie-{list(LIES).index(lie)}"))
    report, say = pod_of(obj)
    answer = say(report["metadata"]["name"], LIES[lie](report))
    assert answer["kind"] == "Report", answer
    found = team.until_status("Dataset", obj["metadata"]["name"], "ResultUntrusted")
    assert ready(found)["status"] == "False" and "artifact" not in found["status"]
    assert "rows" not in found["status"] or not found["status"]["rows"]


def test_what_was_accepted_is_neither_changed_nor_taken_back_by_the_pod(team: Team, pod_of: Any) -> None:
    obj = team.made(team.resource("Dataset", "accepted"))
    report, say = pod_of(obj)
    name = report["metadata"]["name"]
    assert say(name, true_status(report))["kind"] == "Report"
    before = team.until_status("Dataset", "accepted", "Succeeded")
    for change in (
        {"result": None},
        {"resultSignature": None},
        {"resultSignature": "AAAA"},
        better(report),
        {"error": {"reason": "Oh", "message": "no", "retriable": False, "time": "2026-01-01T00:00:00Z"}},
    ):
        assert "finished" in str(say(name, change).get("message")), change
    time.sleep(2)
    after = team.get("Dataset", "accepted")
    assert after is not None and after["status"] == before["status"]


def test_a_pod_says_nothing_in_anothers_report(team: Team, pod_of: Any) -> None:
    obj = team.made(team.resource("Dataset", "talker"))
    other = team.made(team.resource("Dataset", "silent"))
    _, say = pod_of(obj)
    report, _ = pod_of(other)
    answer = say(report["metadata"]["name"], true_status(report))
    assert "may write only its own Report" in str(answer.get("message"))
    assert ready(team.until_status("Dataset", "silent"))["reason"] != "Succeeded"
