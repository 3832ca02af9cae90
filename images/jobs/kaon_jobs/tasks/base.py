"""What a task's room does for the programs. Each room is a package of tasks/ with a module `room` that holds ROOM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaon.api.dataset import Feature
from kaon.api.evaluation import SimpleBaseline
from kaon.contract.jobspec import TrainWork
from kaon.contract.manifest import ModelCard
from kaon_jobs.context import Context
from kaon_jobs.data.catalogue import Items
from kaon_jobs.data.splits import Rows
from kaon_jobs.fetched import FetchedModel
from kaon_jobs.predict.onnx_model import Example, OnnxModel
from kaon_jobs.store.objectstore import Store


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a model is trained from, and where it goes."""

    work: TrainWork
    labels: list[str]
    """The classes, in the order of their ids; empty where a number is predicted."""
    features: list[Feature]
    """The columns that the model reads, in the order of the rows' values."""
    train: Rows
    validation: Rows
    test: Rows
    items: Items | None
    """Of interactions: the items, in the order of their numbers."""
    base: FetchedModel | None
    """The base model's folder, verified; None for a builtin model."""
    out: Path
    """An empty folder for the model's files."""
    store: Store
    address: str
    """Of the stage; with `store`, where its checkpoints are."""
    threads: int
    """Of the exported model, as of a small server; figures of different runs compare."""
    context: Context


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained and exported model: its files are in the lesson's folder, the export gives the model's own answers."""

    card: ModelCard
    """Without golden examples."""
    facts: Sequence[tuple[str, Any]]
    """Name and value of what the report page tells of the training."""
    history: Sequence[dict[str, Any]] = field(default_factory=tuple)
    """What was logged while it was trained: step, and loss or metrics."""


class Room(ABC):
    """The jobs' half of a task."""

    @abstractmethod
    def learn(self, lesson: Lesson, percents: tuple[int, int]) -> Learned:
        """Trains a model, exports it to `lesson.out` and proves that the export answers as the model does.

        Args:
            percents: the part of the stage's progress that this takes.

        Raises:
            StageFailure: the base model, the recipe and the rows do not fit; or the export answers otherwise.
        """

    @abstractmethod
    def edges(self, model: OnnxModel, rows: Rows) -> Sequence[Example]:
        """Inputs at the ends of what an exported model reads, which a server has to answer too."""

    @abstractmethod
    def baseline(self, lesson: Lesson) -> SimpleBaseline:
        """The plain model that the trained one is measured against, on the test rows."""
