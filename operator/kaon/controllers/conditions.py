"""How a resource stands, as conditions in kstatus form. Pure. kaon.api.conditions lists the types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from kaon.api import conditions as c
from kaon.controllers.base import Object


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with seconds, as Kubernetes writes it."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def parse_timestamp(text: str) -> datetime:
    """The datetime of an RFC 3339 string; fractions are allowed."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Claim(NamedTuple):
    """What one condition says."""

    status: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """Where a resource stands: one cause, told once, from which every condition follows.

    ready and stalled exclude each other; a state that is neither is reconciling, unless `quiet` (suspended).
    `claims` are conditions beside Ready, Reconciling and Stalled, by type.
    """

    phase: str
    reason: str
    message: str
    ready: bool = False
    stalled: bool = False
    quiet: bool = False
    claims: Mapping[str, Claim] = field(default_factory=dict)

    @property
    def reconciling(self) -> bool:
        """True while work is under way or waited for."""
        return not (self.ready or self.stalled or self.quiet)


def conditions_of(state: State, previous: Object, generation: int, now: datetime) -> list[dict[str, Any]]:
    """The conditions of `state`, in a fixed order; lastTransitionTime moves only when a condition's status does.

    `previous` is the status so far.
    """
    before = {condition["type"]: condition for condition in previous.get("conditions", [])}
    claims = {
        c.READY: Claim(state.ready, state.reason, state.message),
        c.RECONCILING: Claim(state.reconciling, state.reason, state.message if state.reconciling else _at_rest(state)),
        c.STALLED: Claim(state.stalled, state.reason, state.message if state.stalled else "Nothing holds it up."),
        **state.claims,
    }
    result = []
    for kind, claim in claims.items():
        status = "Unknown" if claim.status is None else str(claim.status)
        old = before.get(kind)
        changed = old is None or old["status"] != status
        result.append(
            {
                "type": kind,
                "status": status,
                "reason": claim.reason,
                "message": claim.message,
                "observedGeneration": generation,
                "lastTransitionTime": timestamp(now) if changed or old is None else old["lastTransitionTime"],
            }
        )
    return result


def _at_rest(state: State) -> str:
    """Why nothing is under way. Says nothing that the message of Ready or Stalled says already."""
    if state.ready:
        return "Nothing is under way: the resource is as declared."
    if state.stalled:
        return "Nothing is under way until the cause that the condition Stalled names is removed."
    return "Nothing is under way: the resource is suspended."


def refused(status: Object, previous: Object, state: State, generation: int, now: datetime) -> Object:
    """A planned status whose children the API server would not have: everything in it that speaks of success goes.

    `previous` is the status so far.
    """
    told = {item["type"]: Claim(_truth(item), item["reason"], item["message"]) for item in status.get("conditions", ())}
    claims = {kind: claim for kind, claim in told.items() if kind not in (c.READY, c.RECONCILING, c.STALLED)}
    conditions = conditions_of(replace(state, claims=claims), previous, generation, now)
    return {**status, "phase": state.phase, "conditions": conditions}


def _truth(item: Object) -> bool | None:
    return {"True": True, "False": False}.get(item["status"])


def condition(obj: Object, kind: str) -> Object | None:
    """The condition of a type in an object's status, if it is there and speaks of the object's present generation."""
    for item in obj.get("status", {}).get("conditions", []):
        if item["type"] == kind:
            current: Object = item
            return current if item.get("observedGeneration", 0) == obj["metadata"].get("generation", 0) else None
    return None


def is_true(obj: Object, kind: str) -> bool:
    """Whether a condition is True for the object's present generation."""
    found = condition(obj, kind)
    return found is not None and found["status"] == "True"
