"""How a stage learns what to do: its Report says it, signed, through an API server that may be slow to answer."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from knownkeys import ROOT_KEY, TRUST
from report_server import ReportServer

from kaon.api.dataset import CLASS_NAMES_LENGTH, DataQuality, Rows
from kaon.api.report import DatasetResult, Result
from kaon.contract.attestation import RESULT_TYPE, attested
from kaon.contract.jobspec import CONTRACT_VERSION, SPEC_VARIABLE, JobSpec
from kaon.contract.trust import TrustDomains
from kaon.resources.report import report
from kaon_jobs import main
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.report import apiserver, told
from kaon_jobs.report.apiserver import ApiServer
from kaon_jobs.report.told import Source, load_spec

NAME, NAMESPACE = "data-dset-0123456789", "test"
OWNER = {"kind": "Dataset", "metadata": {"name": "data", "namespace": NAMESPACE, "uid": "1"}}
FROM_REPORT = Source(report=NAME)


@pytest.fixture
def job() -> JobSpec:
    """Of a Dataset whose content is known and whose artifact goes nowhere."""
    schema = {"features": [{"name": "text"}], "label": {"name": "label", "classes": ["$(HOME)", "\U0001f600"]}}
    work = {"stage": "dataset", "task": "text-classification", "sources": [{"uri": "s3://a"}], "format": "csv"}
    who = {"kind": "Dataset", "namespace": NAMESPACE, "name": "data", "uid": "1", "generation": 1}
    told = {
        "provenance": {**who, "kaonVersion": "0.0.0", "image": "none"},
        "work": {**work, "schema": schema, "clean": {}, "split": {}},
        **{"inputDigest": "sha256:" + "1" * 64, "declaration": "sha256:" + "2" * 64, "report": NAME, "content": {}},
    }
    return JobSpec.model_validate(told)


@pytest.fixture
def server(job: JobSpec) -> Iterator[ReportServer]:
    """With the Report of `job`, as the operator makes it."""
    with ReportServer() as one:
        one.spec = report(OWNER, job, TRUST.key(NAMESPACE))["spec"]
        yield one


@pytest.fixture
def pod(server: ReportServer, tmp_path: Path) -> ApiServer:
    """The API server as seen from the Report's pod."""
    return server.seen_from(tmp_path, NAMESPACE)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(apiserver, "PAUSES_SECONDS", (0.01, 0.05))


def failure(pod: ApiServer | None, source: Source = FROM_REPORT, stage: str = "dataset") -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        load_spec(stage, source, pod)
    return caught.value


def test_what_a_report_says_is_read_by_the_one_call_that_a_pod_may_make(
    job: JobSpec, server: ReportServer, pod: ApiServer
) -> None:
    server.status = {"attempt": 2}
    found = load_spec("dataset", FROM_REPORT, pod)
    assert found.job == job and found.report is not None
    assert found.report["spec"]["job"].encode() == job.text.encode()
    assert found.report["status"] == {"attempt": 2}
    assert len(server.requests) == 1 and server.patches == []


def test_outside_of_a_cluster_it_is_a_file_and_for_a_server_a_variable(
    job: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.json").write_text(job.text)
    assert load_spec("dataset", Source(file=tmp_path / "spec.json"), None).job == job
    monkeypatch.setenv(SPEC_VARIABLE, job.text)
    assert load_spec("dataset", Source(), None).job == job
    assert "elsewhere give --spec FILE" in failure(None).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JobSpec: give --report NAME or --spec FILE, or set KAON_JOB_SPEC"),
        ("{}", "the JobSpec is not valid: provenance"),
        ("{", "the JobSpec is not valid"),
    ],
)
def test_a_jobspec_that_cannot_be_read_is_wrong_input(monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.setenv(SPEC_VARIABLE, text)
    found = failure(None, Source())
    assert message in found.message and found.reason == "InvalidSpec" and not found.retriable


def test_an_unknown_contract_is_told_before_anything_else_is_read(server: ReportServer, pod: ApiServer) -> None:
    text = json.dumps({"contract": 99, "work": {"stage": "telepathy"}})
    signature = TRUST.key(NAMESPACE).signature("application/vnd.kaon.dev.job.v1+json", text.encode())
    server.spec |= {"job": text, "jobSignature": signature}
    found = failure(pod)
    assert found.reason == "ContractMismatch" and not found.retriable
    assert f"the operator speaks contract 99, this image {CONTRACT_VERSION}" in found.message


def test_the_jobspec_of_another_stage_is_refused(pod: ApiServer) -> None:
    assert "asked to run train, but the JobSpec is for dataset" in failure(pod, stage="train").message


def unsigned(spec: dict[str, Any], job: JobSpec) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != "jobSignature"}


def altered(spec: dict[str, Any], job: JobSpec) -> dict[str, Any]:
    return {**spec, "job": job.model_copy(update={"declaration": "sha256:" + "0" * 64}).text}


def by_key_of(trust: TrustDomains, namespace: str) -> Callable[[dict[str, Any], JobSpec], dict[str, Any]]:
    return lambda spec, job: report(OWNER, job, trust.key(namespace))["spec"]


def of_another(**changes: Any) -> Callable[[dict[str, Any], JobSpec], dict[str, Any]]:
    """What another Report says, signature and all."""
    return lambda spec, job: report(OWNER, job.model_copy(update=changes), TRUST.key(NAMESPACE))["spec"]


FORGERIES: dict[str, Callable[[dict[str, Any], JobSpec], dict[str, Any]]] = {
    "no signature": unsigned,
    "another declaration": altered,
    "another namespace's key": by_key_of(TRUST, "neighbour"),
    "another installation's key": by_key_of(TrustDomains(bytes(32)), NAMESPACE),
    "a shared domain's key": by_key_of(TrustDomains(ROOT_KEY, {NAMESPACE: "x"}), NAMESPACE),
    "another Report's JobSpec": of_another(report="other-dset-0123456789"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_not_signed_for_this_report_is_not_done(
    server: ReportServer, pod: ApiServer, job: JobSpec, name: str
) -> None:
    """Whoever may make Reports would else have the pod sign whatever they like."""
    server.spec = FORGERIES[name](server.spec, job)
    found = failure(pod)
    assert found.reason == "JobSpecUntrusted" and not found.retriable


def test_the_report_of_another_namespace_is_not_ones_own(server: ReportServer, tmp_path: Path) -> None:
    """Namespaces of one trust domain have one key."""
    found = failure(server.seen_from(tmp_path, "twin"))
    assert f"the Report twin/{NAME} has the JobSpec of the Report {NAMESPACE}/{NAME}" in found.message


def test_a_report_that_says_nothing_names_the_way_out(server: ReportServer, pod: ApiServer) -> None:
    server.spec = {"stage": "dataset"}
    found = failure(pod)
    assert found.reason == "InvalidSpec" and "CustomResourceDefinitions" in found.message


# -- while the API server does not answer ------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_a_pod_waits_for_an_api_server_that_is_away_when_it_starts(
    server: ReportServer, pod: ApiServer, job: JobSpec
) -> None:
    server.failures = [503, 429, 401, 500, 404]
    assert load_spec("dataset", FROM_REPORT, pod).job == job
    assert len(server.requests) == 6


@pytest.mark.usefixtures("quick")
def test_a_pod_waits_for_an_api_server_that_refuses_connections(job: JobSpec, tmp_path: Path) -> None:
    with ReportServer() as first:
        pod = first.seen_from(tmp_path, NAMESPACE)
    found: list[JobSpec] = []
    waiting = threading.Thread(target=lambda: found.append(load_spec("dataset", FROM_REPORT, pod).job))
    waiting.start()
    time.sleep(0.3)
    assert found == []
    with ReportServer(pod.port) as second:
        second.spec = report(OWNER, job, TRUST.key(NAMESPACE))["spec"]
        waiting.join(timeout=10)
    assert found == [job]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [(503, "ReportUnreadable", "answered 503"), (404, "ReportMissing", "it or its resource was deleted")],
)
def test_a_wait_ends_in_a_failure_that_is_tried_again(
    server: ReportServer, pod: ApiServer, monkeypatch: pytest.MonkeyPatch, code: int, reason: str, says: str
) -> None:
    monkeypatch.setattr(told, "PATIENCE_SECONDS", 0.2)
    server.failures = [code] * 1000
    found = failure(pod)
    assert found.reason == reason and found.retriable and says in found.message
    assert 3 < len(server.requests) < 100


def test_a_refusal_is_not_waited_upon(server: ReportServer, pod: ApiServer) -> None:
    server.failures = [403]
    found = failure(pod)
    assert found.reason == "ReportUnreadable" and found.retriable and len(server.requests) == 1


def test_a_pod_that_waits_ends_at_once_when_it_is_told_to_stop(
    server: ReportServer, pod: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first process of a container it would else be deaf to it, and be killed after the grace period."""
    monkeypatch.setattr(main, "in_cluster", lambda: pod)
    server.failures = [503] * 1000
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    stopping = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    stopping.start()
    try:
        assert main.run("dataset", FROM_REPORT) == 143
    finally:
        stopping.join()
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


# -- a whole run -------------------------------------------------------------------------------------------------------


def result_of(classes: list[str]) -> Result:
    quality = {"rowsRead": 3, "missing": 0, "duplicates": 0, "missingRatio": 0, "duplicateRatio": 0, "leakage": 0}
    return Result(
        start_time="2026-01-01T00:00:00Z",
        completion_time="2026-01-01T00:00:01Z",
        dataset=DatasetResult(
            rows=Rows(train=3),
            classes=classes,
            quality=DataQuality.model_validate({**quality, "minRowsPerClass": 1, "smallestClass": classes[0]}),
        ),
    )


@pytest.fixture
def run(pod: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[Result], int]:
    """run(result): a pod whose work has this result."""

    def end(result: Result) -> int:
        def work(job: JobSpec, context: Context) -> Result:
            return result

        monkeypatch.setattr(main, "in_cluster", lambda: pod)
        monkeypatch.setattr(main, "_work", work)
        monkeypatch.setattr(main, "_listen", lambda on_stop: None)
        return main.run("dataset", FROM_REPORT)

    return end


def test_a_short_run_costs_two_requests_what_it_is_told_included(
    server: ReportServer, run: Callable[[Result], int]
) -> None:
    assert run(result_of(["a", "b"])) == 0
    assert server.status["result"]["dataset"]["classes"] == ["a", "b"]
    assert "classCount" not in server.status["result"]["dataset"]
    assert len(server.requests) == 2 and len(server.patches) == 1


def test_a_report_that_has_its_result_already_costs_one_request(
    server: ReportServer, run: Callable[[Result], int]
) -> None:
    server.status = {"result": {"completionTime": "2025-12-31T00:00:00Z"}}
    assert run(result_of(["a", "b"])) == 0
    assert len(server.requests) == 1 and server.patches == []


def test_of_more_class_names_than_a_report_has_room_for_the_first_are_told_and_signed(
    server: ReportServer, run: Callable[[Result], int], job: JobSpec
) -> None:
    names = [f"{number:04}{'😀' * 252}" for number in range(1000)]
    assert run(result_of(names)) == 0
    said = server.status["result"]["dataset"]
    assert said["classes"] == names[: CLASS_NAMES_LENGTH // 256] and said["classCount"] == 1000
    provenance = job.provenance
    claimed = attested(
        server.status["result"],
        report=NAME,
        namespace=provenance.namespace,
        owner_uid=provenance.uid,
        stage="dataset",
        input_digest=job.input_digest,
    )
    assert TRUST.key(NAMESPACE).public.verifies(RESULT_TYPE, claimed, server.status["resultSignature"])
