"""What a small world is: who declares what in it, what may go wrong, and within which bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.unit.controllers.world import CONFIG

from kaon.controllers.base import Controller, Key, Object, OperatorConfig

from .state import Budget

SHARED = ("ServiceAccount", "RoleBinding")
"""Kinds of children that a namespace's resources share, and that nobody prunes."""
_OF_A_STAGE = ("Report", "Job", *SHARED)
_OF_A_SERVER = ("NetworkPolicy", "Service", "ConfigMap", "Deployment", "PodDisruptionBudget")
CHILDREN = {
    "Dataset": _OF_A_STAGE,
    "TrainingRun": _OF_A_STAGE,
    "CompressionJob": _OF_A_STAGE,
    "ModelDeployment": _OF_A_SERVER,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may happen. What is not named here has no bound."""

    left: Mapping[Budget, int]
    """How often each mishap and each wish of a user may come."""
    lag: int = 1000
    """How many changes the watches may be behind, all together."""
    workers: int = 1
    """How many resources are reconciled at once."""
    standby_lag: int = 0
    """How many changes of each kind a standby's watch may be behind when it takes over."""


@dataclass(frozen=True, slots=True)
class World:
    """A small world."""

    name: str
    about: str
    controllers: tuple[Controller, ...]
    declared: Mapping[Key, tuple[Object, ...]]
    """The resources that users may apply, each with the specs that they may give it."""
    bounds: Bounds
    given: tuple[Object, ...] = ()
    """Objects that are there from the beginning."""
    outside: Mapping[Key, tuple[Object, ...]] = field(default_factory=dict)
    """Resources that nobody here reconciles, each with the contents that it may have (Budget.APPLY)."""
    hand: frozenset[str] = frozenset({"Job", "Report"})
    """Kinds of children that somebody may delete by hand."""
    starts: bool = False
    """Whether a Job's pod takes its time to come."""
    reuse: bool = False
    """Whether the store is looked at: what is finished there is reused."""
    lingers: bool = False
    """Whether the pod of a deleted Job goes on for a while, and may tell a result."""
    brisk: bool = False
    """Whether a reconcile is over before anything that is waited for has passed."""
    config: OperatorConfig = CONFIG

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of this world, in a fixed order."""
        own = [controller.kind for controller in self.controllers]
        found = [*own, *(key.kind for key in self.outside), *(kind for one in own for kind in CHILDREN[one])]
        return tuple(dict.fromkeys(found))

    @property
    def edited(self) -> bool:
        """Whether a resource can come to declare something else."""
        return any(len(contents) > 1 for contents in (*self.declared.values(), *self.outside.values()))

    def within(self, bounds: Bounds) -> World:
        """The same world in other bounds."""
        return dataclasses.replace(self, bounds=bounds)
