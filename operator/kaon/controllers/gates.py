"""Gates: figures against bounds, fail-closed. A figure that is missing or not finite does not pass. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Gate:
    """One figure and the bound that it must keep. A bound of None asks nothing."""

    name: str
    figure: float | None
    bound: float | None
    sense: Literal["at least", "at most"]

    @property
    def passed(self) -> bool:
        """Whether the bound holds; never for a figure that is missing or not finite."""
        if self.bound is None:
            return True
        if self.figure is None or not math.isfinite(self.figure):
            return False
        return self.figure >= self.bound if self.sense == "at least" else self.figure <= self.bound

    def __str__(self) -> str:
        found = "no figure" if self.figure is None else f"{self.figure:.6g}"
        return f"{self.name} is {found}, must be {self.sense} {self.bound:.6g}"


def failures(gates: Iterable[Gate]) -> list[str]:
    """A sentence for each gate that is not passed."""
    return [str(gate) for gate in gates if not gate.passed]
