"""Maps over metrics: figures, gates and budgets, each by the metric's name. The tasks say which names there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from kaon.api.base import ApiModel, Rule
from kaon.api.types import Figure
from kaon.tasks.base import Metric
from kaon.tasks.registry import METRICS

MOST_METRICS = 32
MetricName = Annotated[str, Field(max_length=64)]


class MetricFigure(ApiModel):
    """A metric as measured, with its 95 % interval where there is one."""

    value: Figure
    low: Figure | None = None
    high: Figure | None = None


Bounds = Callable[[Any], Mapping[str, float] | None]
"""Gets the map of bounds from a parsed model."""
Checks = dict[Rule, Callable[[Any], bool]]

MetricFigures = Annotated[dict[MetricName, MetricFigure], Field(max_length=MOST_METRICS)]
MetricBounds = Annotated[dict[MetricName, Figure], Field(max_length=MOST_METRICS)]


def gate_rules(field: str, better: Literal["higher", "lower"], value: Bounds) -> Checks:
    """Rules for a map of gates `field`: its names are metrics of this direction, its bounds lie in their ranges."""
    metrics = [metric for metric in METRICS.values() if metric.better == better]
    names = ", ".join(metric.name for metric in metrics)
    other = "maximum" if better == "higher" else "minimum"
    message = f"{field} takes metrics of which {better} is better: {names}. Others belong to {other}"
    ranges = _ranges(field, metrics, lambda metric: (metric.least, metric.most), value)
    return {**_known(field, metrics, message, value), **ranges}


def loss_rules(field: str, names: Iterable[str], value: Bounds) -> Checks:
    """Rules for a map `field` of how much of each metric may be lost."""
    metrics = [METRICS[name] for name in names]
    message = f"{field} takes metrics that two models can be compared by: {', '.join(names)}"
    ranges = _ranges(field, metrics, lambda metric: (0.0, metric.span), value)
    return {**_known(field, metrics, message, value), **ranges}


def _known(field: str, metrics: list[Metric], message: str, value: Bounds) -> Checks:
    names = {metric.name for metric in metrics}
    rule = f"!has(self.{field}) || self.{field}.all(name, name in {_listed(metric.name for metric in metrics)})"
    return {Rule(rule, message): lambda model: (value(model) or {}).keys() <= names}


def _ranges(field: str, metrics: list[Metric], ends: Callable[[Metric], tuple[float, float]], value: Bounds) -> Checks:
    grouped: dict[tuple[float, float], list[str]] = {}
    for metric in metrics:
        grouped.setdefault(ends(metric), []).append(metric.name)
    found: Checks = {}
    for (least, most), names in grouped.items():
        asked, said = [], []
        if math.isfinite(least):
            asked.append(f"self.{field}[name] >= {least}")
            said.append(f"at least {least:g}")
        if math.isfinite(most):
            asked.append(f"self.{field}[name] <= {most}")
            said.append(f"at most {most:g}")
        if asked:
            rule = (
                f"!has(self.{field}) || self.{field}.all(name, !(name in {_listed(names)}) || ({' && '.join(asked)}))"
            )
            message = f"{field} of {', '.join(names)} must be {' and '.join(said)}"
            found[Rule(rule, message)] = _within(names, least, most, value)
    return found


def _within(names: Iterable[str], least: float, most: float, value: Bounds) -> Callable[[Any], bool]:
    def holds(model: Any) -> bool:
        bounds = value(model) or {}
        return all(least <= bounds[name] <= most for name in names if name in bounds)

    return holds


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(repr(name) for name in names)}]"
