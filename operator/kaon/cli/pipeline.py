"""What a person wants to know of a pipeline, taken from its objects. Pure: objects in, rows in pipeline order out.

Reads conditions for decisions and `phase` only for display, as every program should.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kaon.api import conditions
from kaon.api.common import Condition, StageStatus
from kaon.api.compressionjob import CompressionJobStatus
from kaon.api.dataset import DatasetStatus
from kaon.api.modeldeployment import ModelDeploymentStatus
from kaon.api.trainingrun import TrainingRunStatus
from kaon.cli import figures
from kaon.tasks.registry import METRICS, TASKS

Object = dict[str, Any]
SHORT_NAMES = {"Dataset": "dset", "TrainingRun": "trun", "CompressionJob": "cjob", "ModelDeployment": "mdep"}
KINDS = tuple(SHORT_NAMES)
DULL_METRICS = ("epoch", "learningRate")
"""What the step says already, or what the recipe does: not how well it goes."""
STATUSES: dict[str, type[StageStatus]] = {
    "Dataset": DatasetStatus,
    "TrainingRun": TrainingRunStatus,
    "CompressionJob": CompressionJobStatus,
    "ModelDeployment": ModelDeploymentStatus,
}


class State(enum.Enum):
    """What matters for waiting: done, still moving, or stuck until somebody changes something."""

    READY = "ready"
    WORKING = "working"
    SUSPENDED = "suspended"
    STALLED = "stalled"


@dataclass(frozen=True)
class Row:
    """One resource as shown."""

    kind: str
    name: str
    state: State
    phase: str
    percent: float | None
    step: str
    eta: str
    metric: str
    reason: str
    message: str
    job_name: str | None

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"


def rows(objects: Iterable[Object]) -> list[Row]:
    """All resources in the order in which data flows through them."""
    return [row(obj) for obj in in_pipeline_order(objects)]


def in_pipeline_order(objects: Iterable[Object]) -> list[Object]:
    """Each Dataset followed by its TrainingRuns, each of these by its CompressionJobs and ModelDeployments.

    Whose reference does not exist stands at the end: the row says what it waits for.
    """
    ordered = sorted(objects, key=lambda obj: (KINDS.index(obj["kind"]), obj["metadata"]["name"]))
    known = {(obj["kind"], obj["metadata"]["name"]) for obj in ordered}
    readers: dict[tuple[str, str] | None, list[Object]] = {}
    for obj in ordered:
        source = reference(obj)
        readers.setdefault(source if source in known else None, []).append(obj)

    def follow(start: tuple[str, str] | None) -> list[Object]:
        found: list[Object] = []
        for obj in readers.get(start, ()):
            found += [obj, *follow((obj["kind"], obj["metadata"]["name"]))]
        return found

    return follow(None)


def reference(obj: Object) -> tuple[str, str] | None:
    """(kind, name) of what this resource reads; None for a Dataset."""
    spec = obj.get("spec") or {}
    if obj["kind"] == "TrainingRun":
        return "Dataset", (spec.get("datasetRef") or {}).get("name", "")
    if obj["kind"] in ("CompressionJob", "ModelDeployment"):
        named = spec.get("modelRef") or {}
        return named.get("kind", ""), named.get("name", "")
    return None


def status_of(obj: Object) -> StageStatus:
    """The parsed status; of one that this version cannot read, the parts that every version has."""
    model = STATUSES[obj["kind"]]
    try:
        return model.model_validate(obj.get("status") or {})
    except ValidationError:
        # Conditions and phase are in every version; figures of another version are better left out than guessed.
        status = obj["status"]
        kept = {key: status[key] for key in ("phase", "conditions", "observedGeneration", "jobName") if key in status}
        return model.model_validate(kept)


def row(obj: Object) -> Row:
    """One resource as shown."""
    status = status_of(obj)
    state = state_of(obj, status)
    reason, message = explanation(obj, status, state)
    progress = status.progress if state is State.WORKING else None
    step = ""
    if progress:
        step = progress.phase or ""
        if progress.step is not None and progress.total_steps:
            counted = f"{progress.step:,}/{progress.total_steps:,}"
            # Some phases count by themselves: "trial 2/4: int8-dynamic".
            step = step if counted in step else f"{step} {counted}".strip()
    return Row(
        kind=obj["kind"],
        name=obj["metadata"]["name"],
        state=state,
        phase=status.phase or "New",
        percent=100.0 if state is State.READY else progress.percent if progress else None,
        step=step,
        eta=figures.duration(progress.eta_seconds) if progress and progress.eta_seconds is not None else "",
        metric=main_metric(status, state),
        reason=reason,
        message=message,
        job_name=status.job_name,
    )


def state_of(obj: Object, status: StageStatus) -> State:
    """From the conditions, and only when they speak of the generation that stands in the spec now."""
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    if status.observed_generation == obj["metadata"].get("generation"):
        if conditions.STALLED in true:
            return State.STALLED
        if conditions.READY in true:
            return State.READY
    return State.SUSPENDED if (obj.get("spec") or {}).get("suspend") else State.WORKING


def explanation(obj: Object, status: StageStatus, state: State) -> tuple[str, str]:
    """(reason, message) of why this resource is not done; of a deployment that is done, its URL."""
    if state is State.READY:
        return "", status.url or "" if isinstance(status, ModelDeploymentStatus) else ""
    if not status.conditions:
        return "", "not seen by the operator yet; if this lasts, look at the operator's log"
    if status.observed_generation != obj["metadata"].get("generation"):
        return "", "the operator has not looked at the last edit yet"
    named = conditions.STALLED if state is State.STALLED else conditions.READY
    condition = find(status, named) or find(status, conditions.READY)
    source = reference(obj)
    if condition and condition.reason == conditions.INPUTS_NOT_READY and source:
        # The message repeats how the other one is doing, which its own row says better.
        return "", f"waits for {source[0]} {source[1]}"
    # A pod's last words may have several lines; a row and a log line have one.
    return (condition.reason, " ".join(condition.message.split())) if condition else ("", "")


def find(status: StageStatus, kind: str) -> Condition | None:
    """A condition by its type."""
    return next((condition for condition in status.conditions if condition.type == kind), None)


def main_metric(status: StageStatus, state: State) -> str:
    """The figure that says how it is going: of the result when there is one, else of what runs."""
    if state is State.WORKING and status.progress and status.progress.metrics:
        told = [(name, value) for name, value in status.progress.metrics.items() if name not in DULL_METRICS]
        return ", ".join(f"{name} {value:.4g}" for name, value in told[:3])
    if isinstance(status, DatasetStatus) and status.rows:
        split = f"{status.rows.train:,}/{status.rows.validation:,}/{status.rows.test:,} rows"
        classes = status.class_count or len(status.classes)
        return f"{split}, {figures.count(classes, 'class', 'classes')}" if classes else split
    if isinstance(status, TrainingRunStatus) and status.evaluation:
        return _quality(status)
    if isinstance(status, CompressionJobStatus):
        return _compression_metric(status)
    if isinstance(status, ModelDeploymentStatus) and status.replicas is not None:
        return f"{status.ready_replicas or 0}/{figures.count(status.replicas, 'replica')} ready"
    return ""


def _quality(status: TrainingRunStatus) -> str:
    task, found = TASKS.get(status.task or ""), status.evaluation
    names = task.headline if task else tuple(found.metrics if found else ())[:2]
    return ", ".join(
        f"{METRICS[name].title if name in METRICS else name} {figures.metric(METRICS.get(name), found.value(name))}"
        for name in names
        if found is not None
    )


def _compression_metric(status: CompressionJobStatus) -> str:
    said = []
    if status.size_ratio is not None:
        said.append(f"{status.size_ratio:.1f}x smaller")
    if status.speedup is not None:
        said.append(f"{status.speedup.value:.1f}x {'faster' if status.speedup.value >= 1 else 'as fast'}")
    metric = next((METRICS[name] for name in status.drops if name in METRICS), None)
    if metric is not None:
        said.append(f"{metric.title} {figures.change(metric, status.drops[metric.name])}")
    return ", ".join(said) or (status.verdict or "")


def way_out(row: Row, namespace: str) -> list[str]:
    """Commands that show more of a resource that is stuck."""
    commands = [f"kubectl -n {namespace} describe {SHORT_NAMES[row.kind]} {row.name}"]
    if row.job_name:
        commands.append(f"kubectl -n {namespace} logs job/{row.job_name}")
    if row.kind == "ModelDeployment":
        of_it = f"kaon.dev/owner-kind=ModelDeployment,kaon.dev/owner={row.name}"
        commands.append(f"kubectl -n {namespace} logs --all-containers --prefix --selector {of_it}")
    return commands
