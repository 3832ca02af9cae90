"""Which revision has the traffic: stable, candidate and retiring, and how one becomes the other. Pure.

A candidate gets traffic when every pod of it answers as recorded and every router surely knows it; until then, and
whatever becomes of it, the stable one is not touched. A replaced revision runs on until no router can send to it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from kaon.api.modeldeployment import Revision
from kaon.controllers.base import Key, Object
from kaon.controllers.conditions import parse_timestamp, timestamp
from kaon.controllers.serving_health import Health
from kaon.resources import labels
from kaon.resources.router_deployment import LISTED_ANNOTATION, RETIRING_ANNOTATION, STABLE_ANNOTATION
from kaon.resources.serving_deployment import REVISION_ANNOTATION


@dataclass(frozen=True, slots=True)
class Roles:
    """The revisions that exist, by what they are for. At most one each."""

    stable: Revision | None = None
    candidate: Revision | None = None
    retiring: Revision | None = None

    def __iter__(self) -> Iterator[Revision]:
        return (revision for revision in (self.stable, self.candidate, self.retiring) if revision is not None)


@dataclass(frozen=True, slots=True)
class Step:
    """What a look at the cluster made of the roles."""

    roles: Roles
    wait_seconds: float | None = None
    """When to look again though nothing changes."""


def roles_of(status: Object, children: Mapping[Key, Object], now: datetime) -> Roles:
    """The roles from the status, and from the children where they are ahead of it or it is lost."""
    try:
        told = Roles(*(_parse(status.get(name)) for name in ("stable", "candidate", "retiring")))
    except ValidationError:
        told = Roles()
    deployed = _deployed(children, now)
    known = {**deployed, **{revision.revision: revision for revision in told}}
    stable = known.get(_annotation(children, STABLE_ANNOTATION) or "")
    if stable is None:
        # Without a stable one there is no router: whatever runs is still on its way.
        return told if any(True for _ in told) else Roles(candidate=next(iter(deployed.values()), None))
    # Who the traffic was taken from is told by the router's configuration. Older than the status, it tells nobody.
    left = known.get(_annotation(children, RETIRING_ANNOTATION) or "")
    if _same(told.stable, stable):
        if left is None or _same(told.retiring, left):
            return told
        # The traffic went there and came back, and neither was told by a status.
        return Roles(told.stable, None if _same(told.candidate, left) else told.candidate, _since(left, now))
    # It was promoted, and the status that was to tell so was not written any more.
    retiring = left or told.stable
    others = [told.candidate] if any(True for _ in told) else _listed(deployed, children)
    candidate = next((one for one in others if not _same(one, stable) and not _same(one, retiring)), None)
    return Roles(_since(stable, now, weight=100), candidate, _since(retiring, now))


def listed(children: Mapping[Key, Object]) -> frozenset[str]:
    """The revisions that the router's configuration lists; none before there is one."""
    return frozenset((_annotation(children, LISTED_ANNOTATION) or "").split())


def advance(
    roles: Roles,
    target: Revision | None,
    health: Mapping[str, Health],
    known: Collection[str],
    now: datetime,
    routers_know_after: float,
) -> Step:
    """One step towards `target`. None: nothing new may start, and nothing is promoted.

    Args:
        known: the revisions that the router's configuration lists.
        routers_know_after: seconds after which every router has surely read what its ConfigMap says.
    """
    roles = _expired(_not_of_the_future(roles, now), target, now, routers_know_after)
    if target is None:
        return Step(roles, wait_seconds=_remaining(roles, now, routers_know_after))
    roles = _aimed(roles, target, now)
    waits = [_remaining(roles, now, routers_know_after)]
    if roles.candidate is not None and roles.retiring is None:
        state = health.get(roles.candidate.revision, Health())
        if roles.stable is not None and roles.candidate.revision not in known:
            # Servers that were there before they were listed are made anew.
            state = Health()
        known_in = _known_in(roles, roles.candidate, state, now, routers_know_after)
        if _proven(roles, state) and known_in <= 0:
            promoted = _promoted(roles, roles.candidate, now)
            return Step(promoted, _remaining(promoted, now, routers_know_after))
        if state.created is not None and known_in > 0:
            waits.append(known_in)
    return Step(roles, wait_seconds=min((wait for wait in waits if wait is not None), default=None))


def _parse(value: object) -> Revision | None:
    return None if value is None else Revision.model_validate(value)


def _annotation(children: Mapping[Key, Object], name: str) -> str | None:
    maps = (child for key, child in children.items() if key.kind == "ConfigMap")
    return next((child["metadata"].get("annotations", {}).get(name) for child in maps), None)


def _same(one: Revision | None, other: Revision | None) -> bool:
    return one is not None and other is not None and one.revision == other.revision


def _since(revision: Revision | None, now: datetime, *, weight: int = 0) -> Revision | None:
    return revision and revision.model_copy(update={"since": timestamp(now), "weight": weight})


def _listed(deployed: Mapping[str, Revision], children: Mapping[Key, Object]) -> list[Revision]:
    """Those that the router's configuration lists: the others are left of the time before there was a router."""
    known = listed(children)
    return [revision for name, revision in deployed.items() if name in known]


def _deployed(children: Mapping[Key, Object], now: datetime) -> dict[str, Revision]:
    """The revisions whose servers exist, by name."""
    found: dict[str, Revision] = {}
    for key, child in sorted(children.items()):
        text = child["metadata"].get("annotations", {}).get(REVISION_ANNOTATION)
        if key.kind == "Deployment" and text and labels.REVISION in child["metadata"].get("labels", {}):
            with contextlib.suppress(ValueError, TypeError):  # written by somebody else: no server of ours
                revision = Revision.model_validate({**json.loads(text), "since": timestamp(now), "weight": 0})
                found[revision.revision] = revision
    return found


def _not_of_the_future(roles: Roles, now: datetime) -> Roles:
    """A clock that went back, or another operator's that was ahead: what waits begins to wait anew."""
    return Roles(*(one and _began_by(one, now) for one in (roles.stable, roles.candidate, roles.retiring)))


def _began_by(revision: Revision, now: datetime) -> Revision:
    ahead = parse_timestamp(revision.since) > now
    return revision.model_copy(update={"since": timestamp(now)}) if ahead else revision


def _expired(roles: Roles, target: Revision | None, now: datetime, after: float) -> Roles:
    retiring = roles.retiring
    if retiring is None or (target is not None and target.revision == retiring.revision):
        return roles
    age = (now - parse_timestamp(retiring.since)).total_seconds()
    return replace(roles, retiring=None) if age >= after else roles


def _aimed(roles: Roles, target: Revision, now: datetime) -> Roles:
    """The candidate is the target, unless the target has the traffic already."""
    if roles.stable is not None and roles.stable.revision == target.revision:
        # What is told of it may be newer: the Secret's name, the evaluation's latency.
        told = target.model_copy(update={"since": roles.stable.since, "weight": 100})
        return replace(roles, stable=told, candidate=None)
    if roles.candidate is not None and roles.candidate.revision == target.revision:
        return replace(roles, candidate=target.model_copy(update={"since": roles.candidate.since, "weight": 0}))
    fresh = target.model_copy(update={"since": timestamp(now), "weight": 0})
    returns = roles.retiring is not None and roles.retiring.revision == target.revision
    return replace(roles, candidate=fresh, retiring=None if returns else roles.retiring)


def _proven(roles: Roles, state: Health) -> bool:
    # The first revision replaces nobody, and its router is not there yet: ready is enough.
    return state.available if roles.stable is not None else state.ready


def _known_in(roles: Roles, candidate: Revision, state: Health, now: datetime, after: float) -> float:
    """Seconds until every router knows the candidate's cluster, which entered the ConfigMap before its Deployment."""
    if roles.stable is None:
        return 0.0
    if state.created is None:
        return after
    # The Deployment's time is another machine's; one of the future says nothing.
    began = state.created if state.created <= now else parse_timestamp(candidate.since)
    return after - (now - began).total_seconds()


def _promoted(roles: Roles, candidate: Revision, now: datetime) -> Roles:
    return Roles(stable=_since(candidate, now, weight=100), retiring=_since(roles.stable, now))


def _remaining(roles: Roles, now: datetime, after: float) -> float | None:
    if roles.retiring is None:
        return None
    return max(0.0, after - (now - parse_timestamp(roles.retiring.since)).total_seconds())
