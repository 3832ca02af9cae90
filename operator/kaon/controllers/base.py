"""The frame every controller fits in: what it observes, what it plans. Pure data, no I/O.

plan(observed) -> Plan is a function of Observed alone; the engine gathers Observed and makes the Plan true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from kaon.contract.budgets import Budgets
from kaon.contract.trust import TrustDomains
from kaon.resources.base import Child, Images, Key, Object, key_of
from kaon.resources.podpolicy import PodPolicy

__all__ = [
    "Child",
    "Controller",
    "EventRecord",
    "Images",
    "Key",
    "Object",
    "Observed",
    "OperatorConfig",
    "Plan",
    "key_of",
]


@dataclass(frozen=True, slots=True)
class OperatorConfig:
    """What whoever installed the operator decided. The same for every resource."""

    images: Images
    version: str
    trust: TrustDomains
    storage_uri: str | None = None
    storage_secret: str | None = None
    cluster_domain: str = "cluster.local"
    budgets: Budgets | None = None
    """How much stages read of what users give; None: Kaon's own."""
    retire_after_seconds: float = 90.0
    """How long a replaced revision keeps running, so that every router has surely read its new configuration."""
    pods: PodPolicy = field(default_factory=PodPolicy)


@dataclass(frozen=True, slots=True)
class Observed:
    """All that a controller may know."""

    obj: Object
    """The resource itself, as stored."""
    children: Mapping[Key, Object]
    """Objects whose controller owner reference is this resource's UID."""
    pods: Sequence[Object]
    """Pods labelled with this resource's UID (they belong to its Jobs and Deployments)."""
    references: Mapping[Key, Object]
    """The resources named by references(obj) that exist."""
    occupied: frozenset[Key]
    """Objects with our labels and this resource's name whose owner UID is another: left by a deleted namesake."""
    now: datetime
    config: OperatorConfig
    capabilities: frozenset[str] = frozenset()
    """Optional kinds that the cluster serves, e.g. PodMonitor, PrometheusRule."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A Kubernetes Event to record, once for each (reason, message)."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that should be: the children, the whole status, when to look again, what to tell."""

    children: tuple[Child, ...]
    status: Object
    requeue_after: float | None = None
    events: tuple[EventRecord, ...] = field(default=())
    look_up: frozenset[Key] = frozenset()
    """What this plan takes to lack something for good. A watch may be minutes behind: these are read, and the plan is
    made once more, before anything is done."""


@dataclass(frozen=True, slots=True)
class Controller:
    """One kind's controller, as the engine sees it."""

    kind: str
    plan: Callable[[Observed], Plan]
    references: Callable[[Object], frozenset[Key]]
    shares: frozenset[tuple[str, str]] = frozenset()
    """Kind and name of what its resources share in each namespace (Child.owned false)."""
