"""What a technique is, and the module that makes it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from kaon_jobs.compress.families.kinds import Kind
from kaon_jobs.compress.training.lessons import Lessons


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
