"""`kaon compare`: the trained model beside the compressed one, with the verdict. Pure: two objects in, a table out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from kaon.api import conditions
from kaon.api.compressionjob import CompressionJobStatus, Interval, Undecided
from kaon.api.evaluation import Evaluation, beside_baseline
from kaon.api.trainingrun import TrainingRunStatus
from kaon.cli import figures, pipeline
from kaon.cli.errors import CliError
from kaon.tasks.base import Metric
from kaon.tasks.registry import METRICS, TASKS

Object = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The table's rows (figure, trained, compressed, change), the verdict and remarks."""

    rows: list[tuple[str, str, str, str]]
    verdict: str
    message: str
    remarks: list[str]


def compare(run: Object, job: Object) -> Comparison:
    """Puts a TrainingRun and the CompressionJob that reads it side by side.

    Raises:
        CliError: the job compresses another run, or has no figures yet.
    """
    run_name, job_name = run["metadata"]["name"], job["metadata"]["name"]
    if pipeline.reference(job) != ("TrainingRun", run_name):
        other = (pipeline.reference(job) or ("", "?"))[1]
        raise CliError(
            f"{job_name} does not compress {run_name} but {other}",
            f"kaon compare{_in_namespace(job)} {other} {job_name}",
        )
    status = pipeline.status_of(job)
    trained = pipeline.status_of(run)
    assert isinstance(status, CompressionJobStatus) and isinstance(trained, TrainingRunStatus)
    if status.baseline is None:
        row = pipeline.row(job)
        said = ": ".join(filter(None, (row.reason, row.message))) or row.phase
        raise CliError(
            f"CompressionJob {job_name} has no figures yet: {said}", f"kaon watch{_in_namespace(job)} --until-ready"
        )
    accepted = pipeline.find(status, conditions.ACCEPTED)
    remarks = ["Latency of one request at a time; both models timed alternately in one process."]
    if trained.artifact and status.source_digest and trained.artifact.digest != status.source_digest:
        remarks.append(f"{run_name} has been trained again since: these figures are of {status.source_digest[:19]}….")
    if trained.evaluation is not None and (simple := beside_baseline(TASKS.get(status.task or ""), trained.evaluation)):
        remarks.append(f"Beside {run_name}: {simple[:1].lower()}{simple[1:]}")
    remarks += [_undecided(item) for item in status.undecided[:5]]
    return Comparison(
        _rows(status.baseline, status.evaluation, status),
        status.verdict or "–",
        accepted.message if accepted else "",
        remarks,
    )


def _undecided(item: Undecided) -> str:
    of = f"{item.class_name} has {item.rows:,} test rows" if item.class_name else f"there are {item.rows:,} test rows"
    if item.more_rows is not None:
        need = f"about {item.more_rows:,} more would decide"
    elif item.more_rows_of_all is not None:
        need = f"about {item.more_rows_of_all:,} more of all classes would decide"
    else:
        need = "no number of rows near would decide"
    return f"{item.budget}: {item.certainty:.0%} certain to be kept; {of}, {need}."


def _in_namespace(obj: Object) -> str:
    namespace = obj["metadata"].get("namespace")
    return f" -n {namespace}" if namespace else ""


def _rows(
    before: Evaluation, after: Evaluation | None, status: CompressionJobStatus
) -> list[tuple[str, str, str, str]]:
    smaller = "" if status.size_ratio is None else f"{status.size_ratio:.2f}x smaller"
    changed = "" if status.flip_rate is None else f"{status.flip_rate:.2%}"
    rows = [
        *(_metric(metric, before, after, status) for metric in _told(status, before)),
        ("worst class recall", "", "", _points(status.class_recall_drop)),
        ("answers changed", "", "", changed),
        ("size", *_both(_size, before, after), smaller),
        ("latency p50", *_both(_p50, before, after), _faster(status.speedup)),
        ("latency p99", *_both(_p99, before, after), ""),
    ]
    return [row for row in rows if any(cell not in ("", "–") for cell in row[1:])]


def _both(figure: Callable[[Evaluation], str], before: Evaluation, after: Evaluation | None) -> tuple[str, str]:
    return figure(before), figure(after) if after else "–"


def _told(status: CompressionJobStatus, before: Evaluation) -> list[Metric]:
    """What is compared: the task's metrics of which a loss was measured, and those that it tells first."""
    task = TASKS.get(status.task or "")
    if task is None:
        return [METRICS[name] for name in before.metrics if name in METRICS]
    return [metric for metric in task.metrics if metric.name in {*status.drops, *task.headline}]


def _metric(
    metric: Metric, before: Evaluation, after: Evaluation | None, status: CompressionJobStatus
) -> tuple[str, str, str, str]:
    values = _both(lambda evaluation: figures.metric(metric, evaluation.value(metric.name)), before, after)
    lost = status.drops.get(metric.name)
    return (metric.title, *values, "" if lost is None else figures.change(metric, lost))


def _size(evaluation: Evaluation) -> str:
    return "–" if evaluation.size_bytes is None else figures.size(evaluation.size_bytes)


def _p50(evaluation: Evaluation) -> str:
    return figures.milliseconds(evaluation.latency_ms.p50 if evaluation.latency_ms else None)


def _p99(evaluation: Evaluation) -> str:
    return figures.milliseconds(evaluation.latency_ms.p99 if evaluation.latency_ms else None)


def _points(value: float | None) -> str:
    return "" if value is None else figures.points(-value)


def _faster(speedup: Interval | None) -> str:
    if speedup is None:
        return ""
    word = "faster" if speedup.value >= 1 else "as fast"
    return f"{speedup.value:.2f}x {word} (95 %: {speedup.low:.2f} to {speedup.high:.2f})"


def table(comparison: Comparison) -> Table:
    """The comparison for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    shown.add_column("")
    for title in ("TRAINED", "COMPRESSED", "CHANGE"):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in comparison.rows:
        shown.add_row(*row)
    return shown
