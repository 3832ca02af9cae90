"""`kaon-job` as a process: exit codes that Kubernetes acts on, last words, and the quick end of a finished stage."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaon.api.report import Result
from kaon.contract.jobspec import SPEC_VARIABLE, JobSpec
from kaon_jobs import main
from kaon_jobs.context import Context, attempt_id
from kaon_jobs.errors import StageFailure, Terminated
from kaon_jobs.programs.content import with_content
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.report.told import Source

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def termination(tmp_path: Path) -> Path:
    """The file that Kubernetes would show as the container's last words."""
    path = tmp_path / "termination"
    path.touch()
    return path


def test_a_finished_artifact_is_reported_again_within_moments(
    shop: Any, dataset: Result, trained: Result, kaon_job: Start
) -> None:
    job = shop.job("trainingruns", shop.train_work(dataset))
    started = time.process_time(), time.monotonic(), os.times().children_user
    process = kaon_job(job)
    output, _ = process.communicate(timeout=60)
    seconds = os.times().children_user - started[2]
    assert process.returncode == 0, output
    assert trained.artifact is not None
    assert f"finished (reused): {trained.artifact.uri} {trained.artifact.digest}" in output
    # Processor time, because the clock on a busy machine measures its neighbours.
    assert seconds < 2.0


def test_a_reused_artifact_costs_what_finding_it_took(
    shop: Any, trained: Result, dataset: Result, tmp_path: Path
) -> None:
    context = Context(Reporter(None, None), tmp_path, "two")
    job = with_content(shop.job("trainingruns", shop.train_work(dataset)), context)
    found = main._finished(job, context)
    assert found is not None and found.reused
    assert found.training == trained.training and found.artifact == trained.artifact
    assert found.cost.wall_seconds < trained.cost.wall_seconds
    assert found.start_time >= trained.completion_time


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """The servers' images, in which artifacts are fetched and nothing else, lack these libraries."""
    heavy = "{'torch', 'transformers', 'sklearn', 'numpy', 'safetensors', 'pyarrow', 'onnx', 'optuna'}"
    code = f"import sys, kaon_jobs.main, kaon_jobs.programs.fetch; print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_wrong_input_ends_with_64_and_says_why(shop: Any, kaon_job: Start, tmp_path: Path, termination: Path) -> None:
    work = shop.dataset_work(schema={"features": [{"name": "text"}], "label": {"name": "kind"}})
    process = kaon_job(shop.job("datasets", work))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 64
    assert "LabelColumnMissing" in output and "no column 'kind' among the 2 in its first line" in output
    assert termination.read_text().startswith("LabelColumnMissing: ")


def test_a_failure_that_another_try_may_mend_ends_with_1(shop: Any, kaon_job: Start, termination: Path) -> None:
    job: JobSpec = shop.job("datasets", shop.dataset_work(), token="full disk")
    assert job.output is not None
    # A file lies where the folder of the artifact should be made.
    (shop.root / "store").mkdir(exist_ok=True)
    (shop.root / "store" / "a-file").write_text("")
    blocked = job.model_copy(update={"output": job.output.model_copy(update={"uri": f"{shop.store}/a-file/x"})})
    process = kaon_job(blocked)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert termination.read_text().startswith("StoreUnreachable: ")


class PanicException(BaseException):
    """As PyO3 raises it."""


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (MemoryError(), "OutOfMemory", 1),
        (KeyError("a cell of somebody's data"), "InternalError", 1),
        (PanicException("byte index 2 is not a char boundary of `a cell`"), "InternalError", 1),
        (StageFailure("SourceEmpty", "no rows"), "SourceEmpty", 64),
        (StageFailure("StoreUnreachable", "no answer", retriable=True), "StoreUnreachable", 1),
    ],
)
def test_every_end_has_its_exit_code(
    shop: Any, monkeypatch: pytest.MonkeyPatch, termination: Path, error: BaseException, reason: str, code: int
) -> None:
    job: JobSpec = shop.job("datasets", shop.dataset_work(), token="never made")
    monkeypatch.setenv(SPEC_VARIABLE, job.text)
    monkeypatch.setenv("KAON_TERMINATION_LOG", str(termination))

    def fail(job: JobSpec, context: Context) -> Result:
        raise error

    monkeypatch.setattr(main, "_work", fail)
    monkeypatch.setattr(main, "_listen", lambda on_stop: None)
    assert main.run("dataset", Source()) == code
    assert termination.read_text().startswith(f"{reason}: ")
    assert "a cell" not in termination.read_text()


@pytest.mark.parametrize(("idle", "code"), [(0, 143), (10, 143), (11, 1)])
def test_a_stage_that_is_told_to_stop_again_and_again_before_a_checkpoint_fails_in_the_end(
    shop: Any, monkeypatch: pytest.MonkeyPatch, termination: Path, idle: int, code: int
) -> None:
    job: JobSpec = shop.job("datasets", shop.dataset_work(), token="never made")
    monkeypatch.setenv(SPEC_VARIABLE, job.text)
    monkeypatch.setenv("KAON_TERMINATION_LOG", str(termination))

    def stop(job: JobSpec, context: Context) -> Result:
        raise Terminated

    monkeypatch.setattr(main, "_work", stop)
    monkeypatch.setattr(main, "_listen", lambda on_stop: None)
    monkeypatch.setattr(Reporter, "stopped", lambda self: idle)
    assert main.run("dataset", Source()) == code
    assert termination.read_text().startswith("Interrupted: 11 attempts in a row") == (code == 1)


def test_sigterm_ends_a_stage_at_once_unless_it_saves_itself_first(tmp_path: Path) -> None:
    context = Context(Reporter(None, None), tmp_path, "one")
    with pytest.raises(Terminated):
        context.on_sigterm()
    saving = Context(Reporter(None, None), tmp_path, "one")
    saved = False
    with pytest.raises(Terminated), saving.deferring_stop():
        saving.on_sigterm()
        saved = saving.stop.is_set()
    assert saved


def test_an_attempt_is_named_after_its_pod_in_a_way_that_is_safe_in_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "r8-trun-0123456789-0-abcde")
    assert attempt_id() == "r8-trun-0123456789-0-abcde"
    monkeypatch.setenv("POD_NAME", "../x y/é")
    assert attempt_id() == "x-y"


def test_an_attempt_knows_what_it_has_used(tmp_path: Path) -> None:
    context = Context(Reporter(None, None), tmp_path, "one")
    sum(range(2_000_000))
    cost = context.cost()
    assert cost.cpu_seconds > 0 and cost.wall_seconds > 0 and cost.gpu_seconds == 0
