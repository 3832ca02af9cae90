"""What a technique is, and the module that makes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from kaon_jobs.compress.training.lessons import Lessons

Kind = Literal["encoder", "text", "network", "trees"]
"""A text encoder with its weights; any other model of texts; a network over arrays or tables; an ensemble of trees."""

IN_WORDS: Final[Mapping[Kind, tuple[str, str]]] = {
    "encoder": ("a text encoder", "text encoders"),
    "text": ("a model of texts without weights to train", "models of texts"),
    "network": ("a network", "networks"),
    "trees": ("an ensemble of trees", "ensembles of trees"),
}
"""One of them, and several."""


class Technique(Protocol):
    """One transformation of a model."""

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """Writes into `target` what it made of `source`. The files that it does not write lie in both directories.

        A technique of the trained form leaves no model.onnx; it is exported anew.

        Raises:
            TechniqueFailed: it does not apply to this model, or what it made is not sound.
        """
        ...


class TechniqueModule(Protocol):
    """A module of this package that makes a technique. It is imported when a step asks for it: torch is slow."""

    TAKES: Collection[Kind]
    """The kinds of models that it is for."""

    def technique(self, parameters: Any, kind: Kind) -> Technique:
        """Of a step's parameters, for a kind that it takes."""
        ...
