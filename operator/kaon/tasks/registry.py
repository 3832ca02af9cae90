"""All tasks, found by the files of this package. A new task is named nowhere else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import Final

import kaon.tasks
from kaon.tasks.base import Metric, Task


def _found() -> dict[str, Task]:
    modules = sorted(info.name for info in pkgutil.iter_modules(kaon.tasks.__path__))
    tasks = (getattr(importlib.import_module(f"kaon.tasks.{name}"), "TASK", None) for name in modules)
    return {task.name: task for task in tasks if isinstance(task, Task)}


def _metrics(tasks: Iterable[Task]) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for task in tasks:
        for metric in task.metrics:
            if found.setdefault(metric.name, metric) != metric:
                raise ValueError(f"two tasks mean different things by the metric {metric.name}")
    return found


TASKS: Final = _found()
"""Name -> task."""
METRICS: Final = _metrics(TASKS.values())
"""Name -> metric, of all tasks."""
COMPARED: Final = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.compared))
"""Names of the metrics that a budget can bound."""
BUILTINS: Final = tuple(dict.fromkeys(builtin.name for task in TASKS.values() for builtin in task.builtins))
"""Names of the models that need no base model, of all tasks."""
