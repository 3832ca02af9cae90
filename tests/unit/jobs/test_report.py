"""The Reporter against an HTTP server: what reaches a Report, how often, and what an outage costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_server import ReportServer

from kaon.api.common import ArtifactStatus, Checkpoint, Progress
from kaon.api.report import ReportStatus, Result, StageError
from kaon_jobs.report import apiserver
from kaon_jobs.report import reporter as report
from kaon_jobs.report.reporter import Reporter, ResultNotDelivered, progress_line


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with ReportServer() as one:
        yield one


@pytest.fixture
def reporter(server: ReportServer, tmp_path: Path) -> Reporter:
    return Reporter("r8-trun-0123456789", server.seen_from(tmp_path), "pod-0")


def result() -> Result:
    return Result(
        artifact=ArtifactStatus(uri="s3://b/x", digest="sha256:" + "0" * 64, size_bytes=1),
        start_time="2026-01-01T00:00:00Z",
        completion_time="2026-01-01T00:00:01Z",
    )


def test_a_report_is_patched_with_the_pods_token_in_the_pods_namespace(
    reporter: Reporter, server: ReportServer
) -> None:
    reporter.start("2026-01-01T00:00:00Z")
    reporter.result(result(), "signature")
    path, token, content_type = server.requests[0]
    assert path == "/apis/kaon.dev/v1alpha1/namespaces/demo/reports/r8-trun-0123456789/status"
    assert token == "Bearer first-token"
    assert content_type == "application/merge-patch+json"


def test_what_is_reported_is_a_valid_report_status(reporter: Reporter, server: ReportServer) -> None:
    reporter.start("2026-01-01T00:00:00Z")
    reporter.progress("training", 41.04, step=5, total_steps=10, eta_seconds=3.4, metrics={"loss": 0.5})
    reporter.checkpoint(Checkpoint(step=5, uri="s3://b/x/checkpoints/5", time="2026-01-01T00:00:00Z"))
    reporter.resumed(3)
    reporter.result(result(), "signature")
    status = ReportStatus.model_validate(server.status)
    assert status.progress == Progress(
        percent=41.0, phase="training", step=5, total_steps=10, eta_seconds=3, metrics={"loss": 0.5}
    )
    assert status.pod == "pod-0"
    assert status.last_checkpoint is not None and status.last_checkpoint.step == 5
    assert status.resumed_from_step == 3
    assert status.result == result()


def test_progress_is_throttled_and_a_new_phase_is_not(
    reporter: Reporter, server: ReportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "INTERVAL_SECONDS", 60.0)
    reporter.start("2026-01-01T00:00:00Z")
    for step in range(1, 200):
        reporter.progress("training", step / 2, step=step)
    reporter.progress("exporting", 99.0)
    wait_until(lambda: server.status.get("progress", {}).get("phase") == "exporting")
    assert len(server.patches) <= 3
    reporter.close()


def test_a_figure_that_is_no_longer_known_disappears(reporter: Reporter, server: ReportServer) -> None:
    reporter.start("2026-01-01T00:00:00Z")
    reporter.progress("training", 1, step=1, eta_seconds=5, metrics={"loss": 0.5})
    wait_until(lambda: "progress" in server.status)
    reporter.progress("exporting", 2, metrics={"accuracy": 0.9, "broken": float("nan"), "loss": 1e20})
    reporter.close()
    assert server.status["progress"] == {"phase": "exporting", "percent": 2, "metrics": {"accuracy": 0.9}}


def test_a_new_attempt_takes_back_the_error_of_the_one_before(reporter: Reporter, server: ReportServer) -> None:
    server.status = {"error": {"reason": "OutOfMemory"}, "lastCheckpoint": {"step": 7}}
    reporter.start("2026-01-01T00:00:00Z")
    reporter.close()
    assert "error" not in server.status
    assert server.status["lastCheckpoint"] == {"step": 7}


def test_an_attempt_that_finds_a_result_has_nothing_to_do_and_leaves_it_alone(
    reporter: Reporter, server: ReportServer
) -> None:
    first = {"completionTime": "2025-12-31T00:00:00Z"}
    server.status = {"result": first, "pod": "pod-before"}
    assert not reporter.start("2026-01-01T00:00:00Z")
    reporter.close()
    assert server.status == {"result": first, "pod": "pod-before"} and server.patches == []


def test_a_result_that_another_attempt_tells_meanwhile_is_not_replaced(
    reporter: Reporter, server: ReportServer
) -> None:
    assert reporter.start("2026-01-01T00:00:00Z")
    wait_until(lambda: server.status.get("pod") == "pod-0")
    server.patch({"status": {"result": {"completionTime": "2025-12-31T00:00:00Z"}}})
    reporter.result(result(), "signature")
    assert server.status["result"] == {"completionTime": "2025-12-31T00:00:00Z"}


def test_what_another_attempt_writes_beside_the_result_does_not_hold_it_back(
    reporter: Reporter, server: ReportServer
) -> None:
    assert reporter.start("2026-01-01T00:00:00Z")
    wait_until(lambda: server.status.get("pod") == "pod-0")
    server.patch({"status": {"progress": {"phase": "exporting"}}})
    reporter.result(result(), "signature")
    assert server.status["result"]["completionTime"] == "2026-01-01T00:00:01Z"


def test_attempts_are_counted_by_pod(reporter: Reporter, server: ReportServer) -> None:
    server.status = {"pod": "pod-before", "attempt": 2}
    reporter.start("2026-01-01T00:00:00Z")
    reporter.close()
    assert server.status["attempt"] == 3
    reporter.start("2026-01-01T00:00:00Z")
    reporter.close()
    assert server.status["attempt"] == 3


@pytest.mark.parametrize(
    ("before", "checkpoint", "idle"),
    [({}, None, 1), ({"idleStops": 4}, None, 5), ({"idleStops": 4}, 8, 0), ({"idleStops": 4}, 7, 5)],
    ids=["the first stop", "another one", "after a newer checkpoint", "after the same checkpoint again"],
)
def test_stops_are_counted_until_a_newer_checkpoint(
    reporter: Reporter, server: ReportServer, before: dict[str, Any], checkpoint: int | None, idle: int
) -> None:
    server.status = {"lastCheckpoint": {"step": 7}, **before}
    reporter.start("2026-01-01T00:00:00Z")
    if checkpoint is not None:
        reporter.checkpoint(Checkpoint(step=checkpoint, uri="s3://b/x", time="2026-01-01T00:00:00Z"))
    assert reporter.stopped() == idle
    assert server.status.get("idleStops", 0) == idle


def test_a_rotated_token_is_read_anew(reporter: Reporter, server: ReportServer, tmp_path: Path) -> None:
    reporter.start("2026-01-01T00:00:00Z")
    wait_until(lambda: len(server.requests) == 2)
    (tmp_path / "token").write_text("second-token")
    reporter.result(result(), "signature")
    assert server.requests[-1][1] == "Bearer second-token"


def test_the_result_outlasts_an_outage(reporter: Reporter, server: ReportServer) -> None:
    server.failures = [500, 503, 429]
    reporter.result(result(), "signature")
    assert server.status["result"]["artifact"]["uri"] == "s3://b/x"


def test_progress_during_an_outage_is_no_failure_and_comes_later(
    reporter: Reporter, server: ReportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "INTERVAL_SECONDS", 0.1)
    server.failures = [500, 500]
    reporter.start("2026-01-01T00:00:00Z")
    reporter.progress("reading", 1)
    wait_until(lambda: server.status.get("progress", {}).get("phase") == "reading")
    assert server.status["startTime"] == "2026-01-01T00:00:00Z"
    reporter.close()


def test_a_result_that_nobody_takes_is_not_passed_over_in_silence(reporter: Reporter, server: ReportServer) -> None:
    server.failures = [403]
    with pytest.raises(ResultNotDelivered):
        reporter.result(result(), "signature")


def test_a_missing_report_does_not_fail_an_error_message(
    reporter: Reporter, server: ReportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apiserver, "MISSING_PATIENCE_SECONDS", 0.0)
    server.failures = [404]
    reporter.error(StageError(reason="SourceEmpty", message="no rows", retriable=False, time="2026-01-01T00:00:00Z"))
    assert server.patches == []
    assert len(server.requests) == 1


def test_without_a_cluster_a_reporter_only_prints(caplog: pytest.LogCaptureFixture) -> None:
    alone = Reporter(None, None)
    with caplog.at_level("INFO"):
        alone.start("2026-01-01T00:00:00Z")
        alone.progress("training", 50, step=1, total_steps=2)
        alone.result(result(), "signature")
    assert "training 50.0 %, step 1/2" in caplog.text
    assert "finished: s3://b/x" in caplog.text


def test_a_progress_line_is_for_people() -> None:
    line = progress_line(
        Progress(phase="training", percent=42, step=210, total_steps=500, eta_seconds=190, metrics={"loss": 0.23144})
    )
    assert line == "training 42.0 %, step 210/500, about 3 min 10 s left, loss 0.2314"


def wait_until(met: Any, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
