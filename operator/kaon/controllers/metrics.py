"""Gates and budgets by metric, checked against the task before anything runs, and figures as sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from kaon.api import conditions as c
from kaon.api.evaluation import Evaluation
from kaon.controllers.conditions import Claim, State
from kaon.controllers.gates import Gate
from kaon.tasks.base import Task
from kaon.tasks.registry import METRICS, TASKS

Sense = Literal["at least", "at most"]
LEAST: Final[Literal["at least"]] = "at least"
MOST: Final[Literal["at most"]] = "at most"


def task_of(name: str) -> Task | State:
    """The task, or the state of a resource whose task this operator does not know: it is of another version."""
    found = TASKS.get(name)
    if found is not None:
        return found
    message = f"The task {name!r} is unknown to this operator. It knows {', '.join(TASKS)}. Upgrade the operator."
    return refused(c.TASK_UNKNOWN, message)


def foreign_metrics(task: Task, named: Mapping[str, Iterable[str]]) -> State | None:
    """The state of a resource that names metrics which its task lacks; None when there are none.

    named: path of a field -> the metrics that it names.
    """
    wrong = {field: names for field, given in named.items() if (names := task.unknown(given))}
    if not wrong:
        return None
    told = "; ".join(f"{field} names {', '.join(map(repr, names))}" for field, names in wrong.items())
    known = ", ".join(metric.name for metric in task.metrics)
    message = f"{told}, which {task.name} does not measure. Its metrics are {known}."
    return refused(c.METRIC_UNKNOWN, message)


def metric_gates(
    task: Task | None, found: Evaluation, minimum: Mapping[str, float] | None, maximum: Mapping[str, float] | None
) -> tuple[Gate, ...]:
    """A gate for each bound, in the order in which the task tells its metrics."""
    order = [metric.name for metric in task.metrics] if task else []
    asked: list[tuple[str, float, Sense]] = [(name, bound, LEAST) for name, bound in (minimum or {}).items()]
    asked += [(name, bound, MOST) for name, bound in (maximum or {}).items()]
    asked.sort(key=lambda gate: (order.index(gate[0]) if gate[0] in order else len(order), gate[0]))
    return tuple(
        Gate(METRICS[name].title if name in METRICS else name, found.value(name), bound, sense)
        for name, bound, sense in asked
    )


def headline(task: Task | None, found: Evaluation | None, digits: int, joint: str = ", ") -> str:
    """The metrics that the task tells first: "accuracy 0.9696, macro-F1 0.9199". Empty when none was measured.

    Args:
        digits: behind the point, of shares.
    """
    if found is None:
        return ""
    names = task.headline if task else tuple(found.metrics)[:2]
    told = [(name, found.value(name)) for name in names]
    return joint.join(_figure(name, value, digits) for name, value in told if value is not None)


def _figure(name: str, value: float, digits: int) -> str:
    metric = METRICS.get(name)
    return f"{name} {value:.{digits}f}" if metric is None else f"{metric.title} {metric.written(value, digits)}"


def refused(reason: str, message: str) -> State:
    """The state of a resource whose spec does not fit its task: nothing starts until somebody changes it."""
    return State("Failed", reason, message, stalled=True, claims={c.INPUTS_READY: Claim(False, reason, message)})
