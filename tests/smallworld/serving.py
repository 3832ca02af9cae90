"""What the routers of a ModelDeployment may know at any moment, and what must hold of that.

A router reads its ConfigMap some time after it was written. So a revision that was listed just now may be unknown yet,
and one that has just lost its traffic may still get some.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tests.unit.controllers.world import NAMESPACE

from kaon.controllers.base import Key, Object
from kaon.resources.serving_ports import revision_name

from .model import Model, Violation
from .state import Backend, State

Listed = dict[str, bool]
"""Revision -> whether it gets the traffic."""


class Traffic:
    """Follows the ConfigMap of the one ModelDeployment of a world."""

    def __init__(self, model: Model, name: str) -> None:
        self._model = model
        self._name = name
        self._listed: dict[int, Listed] = {0: {}}

    def changed(self, state: State, before: int, after: int) -> State:
        """After a change of an object: what the routers may know then."""
        if self._model.objects.fact(after or before).key.kind != "ConfigMap":
            return state
        if not after:
            if self._owned(state, before):
                raise Violation("the routers' configuration is taken away")
            return state._replace(traffic=())
        old, new = self._of(before), self._of(after)
        known = {backend.revision: backend for backend in state.traffic}
        backends = []
        for revision in sorted({*old, *new, *known}):
            was = known.get(revision, Backend(revision, "gone", "no"))
            now = self._moved(was, new.get(revision))
            if now.sent == "yes" and was.sent != "yes" and self._owned(state, after):
                self._check_promoted(state, was, first=not any(old.values()))
            if now.listed != "gone" or now.sent != "no":
                backends.append(now)
        return state._replace(traffic=tuple(backends))

    @staticmethod
    def _moved(was: Backend, sent: bool | None) -> Backend:
        """A revision after the configuration was written: `sent` says whether it gets traffic, None: not listed."""
        listed = "gone" if sent is None else "now" if was.listed == "gone" else was.listed
        if sent:
            return Backend(was.revision, listed, "yes")
        return Backend(was.revision, listed, "now" if was.sent == "yes" else was.sent)

    def _check_promoted(self, state: State, was: Backend, *, first: bool) -> None:
        if not first and was.listed != "long ago":
            raise Violation(f"traffic is sent to {was.revision}, which routers may not know yet")
        if not self._answers(state, was.revision):
            raise Violation(f"traffic is sent to {was.revision}, which does not answer")

    def check(self, state: State) -> None:
        """What may get traffic runs and is known, and what is known has an address."""
        config_maps = self._model.lane(state, "ConfigMap").api
        if not any(self._owned(state, number) for number in config_maps):
            return  # its resource was deleted, and another of that name may be there: all is collected, in any order
        api = {self._model.objects.fact(number).key for _, lane in self._model.lanes(state) for number in lane.api}
        for backend in state.traffic:
            name, sent = revision_name(self._name, backend.revision), backend.sent != "no"
            if backend.listed == "gone" and sent:
                raise Violation(f"{backend.revision} may get traffic, and the routers know it no more")
            if Key("Service", NAMESPACE, name) not in api:
                raise Violation(f"{backend.revision} is known to routers and has no Service")
            if sent and Key("Deployment", NAMESPACE, name) not in api:
                raise Violation(f"{backend.revision} may get traffic and has no Deployment")

    def _owned(self, state: State, config_map: int) -> bool:
        """Whether the resource that a ConfigMap belongs to is there."""
        owner = self._model.find(
            self._model.lane(state, "ModelDeployment").api, Key("ModelDeployment", NAMESPACE, self._name)
        )
        fact = self._model.objects.fact
        return bool(owner) and fact(owner).uid == fact(config_map).owner_uid

    def _answers(self, state: State, revision: str) -> bool:
        key = Key("Deployment", NAMESPACE, revision_name(self._name, revision))
        number = self._model.find(self._model.lane(state, "Deployment").api, key)
        return bool(number and self._model.objects[number].get("status", {}).get("readyReplicas"))

    def _of(self, number: int) -> Listed:
        found = self._listed.get(number)
        if found is None:
            found = self._listed[number] = listed_in(self._model.objects[number])
        return found


def listed_in(config_map: Object) -> Listed:
    """The revisions in a router's files, and whether each gets the traffic."""
    clusters = json.loads(config_map["data"]["cds.json"])["resources"]
    routes = json.loads(config_map["data"]["rds.json"])["resources"][0]["virtual_hosts"][0]["routes"]
    weighted = next(item["route"]["weighted_clusters"]["clusters"] for item in routes if "weighted" in str(item))
    weights = {item["name"]: item["weight"] for item in weighted}
    return {cluster["name"]: weights.get(cluster["name"], 0) > 0 for cluster in clusters}


def older_traffic(traffic: Iterable[Backend]) -> tuple[Backend, ...]:
    """Long after: every router knows what is listed, and sends only what it is told to."""
    later = (
        backend._replace(
            listed="long ago" if backend.listed == "now" else backend.listed,
            sent="no" if backend.sent == "now" else backend.sent,
        )
        for backend in traffic
    )
    return tuple(backend for backend in later if backend.listed != "gone" or backend.sent != "no")
