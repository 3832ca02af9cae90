"""The words in which a task describes itself. Pure data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of quality. Its name is the same in gates, budgets, Reports, statuses and reports."""

    name: str
    """As it is written in a resource: macroF1."""
    title: str
    """As it stands in a sentence: macro-F1."""
    about: str
    """What it measures, for the documentation."""
    better: Literal["higher", "lower"] = "higher"
    least: float = 0.0
    most: float = 1.0
    """The ends of its range; infinite where there is none."""

    def loss(self, before: float, after: float) -> float:
        """By how much `after` is worse than `before`; negative when it is better."""
        return before - after if self.better == "higher" else after - before

    @property
    def loss_title(self) -> str:
        """What is lost of it, as it stands in a sentence: accuracy drop, RMSE rise."""
        return f"{self.title} {'drop' if self.better == 'higher' else 'rise'}"

    def written(self, value: float, decimals: int = 4) -> str:
        """A figure for people: so many decimals of a share, else four digits and all of those before the point."""
        if self.is_share:
            return f"{value:.{decimals}f}"
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"

    @property
    def span(self) -> float:
        """The most that can be lost."""
        return self.most - self.least

    @property
    def scale(self) -> float:
        """What a large difference is: the whole range where it has ends."""
        return self.span if math.isfinite(self.span) else 1.0

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1, so that differences are told in percentage points."""
        return (self.least, self.most) == (0.0, 1.0)

    @property
    def sense(self) -> Literal["at least", "at most"]:
        """What a gate asks of it."""
        return "at least" if self.better == "higher" else "at most"

    def holds(self, value: float) -> bool:
        """Whether `value` lies in its range."""
        return math.isfinite(value) and self.least <= value <= self.most


COLUMN_TYPES: Final = ("text", "number", "category", "datetime", "image", "user", "item", "time", "rating")
"""What a column of a Dataset can hold."""
TABLE_COLUMNS: Final = ("number", "category", "datetime")
"""What a column of a table can hold."""
INTERACTION_COLUMNS: Final = ("user", "item", "time", "rating", "text")
"""What a column of interactions can hold: who, with what, when, how much it was liked, and a text of the item."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A kind of model that a task trains from nothing, without a base model from a store."""

    name: str
    """As in `builtin:NAME`."""
    about: str
    """What it is, for the documentation."""
    recipe: frozenset[str]
    """Fields of the recipe that have a meaning for it, as they are written."""
    defaults: Mapping[str, int | float] = field(default_factory=dict)
    """Fields of the recipe, as they are written, whose default is another one for it."""


@dataclass(frozen=True, slots=True)
class Task:
    """What everything that does not run a task knows of it."""

    name: str
    metrics: tuple[Metric, ...]
    """All that its evaluation measures, in the order in which people read them."""
    headline: tuple[str, ...]
    """Names of the metrics that tell how good a model is where there is room for one or two."""
    compared: tuple[str, ...]
    """Names of the metrics whose loss between two models on the same rows has limits of confidence."""
    stopping: str
    """Name of the metric that early stopping watches unless a recipe names another."""
    target: Literal["class", "number", "items"]
    """What it predicts: one of a fixed set of classes, a number, or which items a user takes next."""
    columns: tuple[str, ...]
    """Types of the columns that its models read, of COLUMN_TYPES."""
    most_columns: int
    """How many columns its models read at most."""
    builtins: tuple[Builtin, ...] = ()
    """Models that need no base model. The first one is trained where a run names no model."""
    from_store: bool = False
    """Whether its models can start from a base model of a store."""
    idle: frozenset[str] = frozenset()
    """Fields of the recipe, as they are written, that have no meaning for a model from a store."""

    @property
    def reads_tables(self) -> bool:
        """Whether a row is one of a table: values of columns, of which any may be missing."""
        return self.columns == TABLE_COLUMNS

    @property
    def has_classes(self) -> bool:
        """Whether its labels are classes: recall of each class, weights of classes, strata."""
        return self.target == "class"

    @property
    def has_label(self) -> bool:
        """Whether a column holds what it predicts. Of interactions the items are that."""
        return self.target != "items"

    def metric(self, name: str) -> Metric | None:
        """A metric by its name; None when the task has none of this name."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def builtin(self, name: str) -> Builtin | None:
        """A builtin model by its name; None when the task has none of this name."""
        return next((builtin for builtin in self.builtins if builtin.name == name), None)

    def unknown(self, names: Iterable[str], among: tuple[str, ...] | None = None) -> list[str]:
        """Those of the names that are no metrics of this task, or not among these of them."""
        known = among if among is not None else tuple(metric.name for metric in self.metrics)
        return [name for name in names if name not in known]
