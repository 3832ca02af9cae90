"""ModelDeployment: a model behind a router, replaced only by one that has the evidence and answers as recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from kaon.api import conditions as c
from kaon.api.modeldeployment import KIND, ModelDeploymentSpec, Revision
from kaon.controllers.base import Controller, EventRecord, Key, Object, Observed, Plan, key_of
from kaon.controllers.conditions import Claim, State, conditions_of, timestamp
from kaon.controllers.placement import refused_placement
from kaon.controllers.remembered import parsed
from kaon.controllers.serving_children import children_of
from kaon.controllers.serving_health import Health, health, pods_of
from kaon.controllers.serving_rollout import Roles, Step, advance, listed, roles_of
from kaon.controllers.serving_target import NoTarget, Target, resolve
from kaon.controllers.stage import HISTORY_LENGTH, INPUTS_KNOWN, invalid_spec, kept
from kaon.resources import router_deployment, serving_deployment
from kaon.resources.serving_deployment import server_selector
from kaon.resources.serving_ports import revision_name, router_name

PROMOTED = "Promoted"
OCCUPIED_SECONDS = 2.0


def plan(observed: Observed) -> Plan:
    """The plan of one ModelDeployment."""
    previous = observed.obj.get("status", {})
    try:
        spec = parsed(ModelDeploymentSpec, observed.obj.get("spec", {}))
    except ValidationError as error:
        refused: State | None = invalid_spec(error)
    else:
        templates = {"spec.podTemplate": spec.pod_template, "spec.router": spec.router}
        namespace, allowed = observed.obj["metadata"]["namespace"], observed.config.pods.placement
        refused = refused_placement(templates, namespace, allowed, accounts=False)
    if refused is not None:
        # What serves goes on serving, as it is.
        carried = {name: previous[name] for name in _Rollout.CARRIED if name in previous}
        return Plan(kept(observed), {**carried, **_standing(observed, _complete(refused))})
    return _Rollout(observed, spec).plan()


def references(obj: Object) -> frozenset[Key]:
    """The resource that makes the model."""
    ref = obj.get("spec", {}).get("modelRef", {})
    named = {"kind", "name"} <= set(ref)
    return frozenset({Key(ref["kind"], obj["metadata"]["namespace"], ref["name"])} if named else ())


@dataclass(frozen=True, slots=True)
class _Rollout:
    """The planning of one ModelDeployment whose spec is understood."""

    observed: Observed
    spec: ModelDeploymentSpec

    CARRIED = (
        "stable", "candidate", "retiring", "url", "replicas", "readyReplicas", "selector", "inputDigest", "artifact",
        "gates", "history",
    )  # fmt: skip

    def plan(self) -> Plan:
        observed, config = self.observed, self.observed.config
        before = roles_of(observed.obj.get("status", {}), observed.children, observed.now)
        found = resolve(observed, self.spec, before.stable)
        if isinstance(found, NoTarget) and found.refused is not None:
            # What the gates refuse must not go on towards the traffic.
            before = replace(before, candidate=None)
        target = None if isinstance(found, NoTarget) or self.spec.suspend else found.revision
        states = {revision.revision: self._health(revision) for revision in before}
        if target is not None:
            states.setdefault(target.revision, self._health(target))
        known = listed(observed.children)
        step = advance(before, target, states, known, observed.now, config.retire_after_seconds)
        children = children_of(observed, self.spec, step.roles)
        taken = [child for child in children if key_of(child.manifest) in observed.occupied]
        if taken:
            children = tuple(child for child in children if child not in taken)
            message = "Waiting for the children of a deleted namesake to be collected."
            state = State("Progressing", c.PENDING, message, claims={c.INPUTS_READY: INPUTS_KNOWN})
            return Plan(children, self._status(state, step, found, []), OCCUPIED_SECONDS)
        state = self._state(step.roles, found, states)
        outcomes = self._outcomes(state, step, found)
        events = tuple(
            EventRecord("Normal" if item["outcome"] == PROMOTED else "Warning", item["outcome"], item["message"])
            for item in outcomes
        )
        return Plan(children, self._status(state, step, found, outcomes), step.wait_seconds, events)

    # -- where it stands ---------------------------------------------------------------------------------------------

    def _health(self, revision: Revision) -> Health:
        name = revision_name(self._name, revision.revision)
        deployment = self.observed.children.get(Key("Deployment", self._namespace, name))
        pods = pods_of(self.observed.pods, serving_deployment.COMPONENT, revision.revision)
        return health(deployment, pods)

    def _state(self, roles: Roles, found: Target | NoTarget, states: dict[str, Health]) -> State:
        serving = self._serving(roles)
        if isinstance(found, NoTarget):
            return replace(found.state, message=f"{found.state.message} {serving}")
        claims = {c.INPUTS_READY: INPUTS_KNOWN, c.ACCEPTED: _accepted(found)}
        if self.spec.suspend:
            message = f"spec.suspend is true: no new revision starts. {serving}"
            return State("Suspended", c.SUSPENDED, message, quiet=True, claims=claims)
        if roles.candidate is not None:
            return self._candidate_state(roles.candidate, roles, states, claims)
        if roles.stable is None:  # a target that is neither is made the candidate
            raise AssertionError("a target without a role")
        return self._stable_state(roles.stable, states, claims)

    def _candidate_state(
        self, candidate: Revision, roles: Roles, states: dict[str, Health], claims: dict[str, Claim]
    ) -> State:
        found, serving = states.get(candidate.revision, Health()), self._serving(roles)
        if found.cause is not None:
            message = f"Revision {candidate.revision} does not start: {found.cause.message} {serving}"
            phase = "Degraded" if found.stalled or roles.stable else "Progressing"
            return State(phase, found.cause.reason, message, stalled=found.stalled, claims=claims)
        if found.ready and roles.stable is not None:
            doing = "answers as recorded and waits until every router knows it"
        else:
            doing = f"starts: {found.ready_replicas} of {max(self.spec.replicas, 1)} replicas answer as recorded"
        message = f"Revision {candidate.revision} ({candidate.server}) {doing}. {serving}"
        return State("Progressing", "RollingOut", message, claims=claims)

    def _stable_state(self, stable: Revision, states: dict[str, Health], claims: dict[str, Claim]) -> State:
        found, router = states.get(stable.revision, Health()), self._router()
        of_them = f"{found.ready_replicas} of {self.spec.replicas} replicas"
        if self.spec.replicas and not self._as_wanted(stable, found):
            if found.cause is not None:
                message = f"Revision {stable.revision} serves with {of_them}: {found.cause.message}"
                return State("Degraded", found.cause.reason, message, stalled=found.stalled, claims=claims)
            message = f"Revision {stable.revision} serves with {of_them}."
            return State("Progressing", "ReplicasNotReady", message, claims=claims)
        if not router.ready:
            if router.cause is not None:
                message = f"The router does not run as declared: {router.cause.message}"
                return State("Degraded", router.cause.reason, message, stalled=router.stalled, claims=claims)
            return State("Progressing", "RouterNotReady", "The router starts.", claims=claims)
        if self.spec.replicas == 0:
            message = f"Revision {stable.revision} is scaled to 0 replicas and answers nothing (spec.replicas)."
            return State("Ready", "ScaledToZero", message, ready=True, claims=claims)
        message = f"Revision {stable.revision} ({stable.server}) serves {stable.artifact_digest} with {of_them}."
        return State("Ready", "Serving", message, ready=True, claims=claims)

    def _as_wanted(self, stable: Revision, found: Health) -> bool:
        name = Key("Deployment", self._namespace, revision_name(self._name, stable.revision))
        deployment = self.observed.children.get(name, {})
        # The count that the Deployment has reached may be that of the spec before this one.
        return found.ready and deployment.get("spec", {}).get("replicas") == self.spec.replicas

    def _router(self) -> Health:
        deployment = self.observed.children.get(Key("Deployment", self._namespace, router_name(self._name)))
        return health(deployment, pods_of(self.observed.pods, router_deployment.COMPONENT))

    def _serving(self, roles: Roles) -> str:
        if roles.stable is None:
            return "Nothing is served yet."
        return f"Revision {roles.stable.revision} ({roles.stable.server}) keeps serving."

    # -- what is told ------------------------------------------------------------------------------------------------

    def _outcomes(self, state: State, step: Step, found: Target | NoTarget) -> list[dict[str, Any]]:
        """What is new for the history: a promotion, or an artifact that was refused or failed."""
        told: list[dict[str, Any]] = []
        stable, target = step.roles.stable, found if isinstance(found, Target) else None
        # Read from the status, not from this step: a status that was not written told nobody of its step.
        if stable is not None and stable.revision != self._stable_before():
            said = self._serving(step.roles).replace("keeps serving", "has the traffic")
            is_target = target is not None and target.revision.revision == stable.revision
            digest = target.input_digest if target and is_target else stable.artifact_digest
            told.append(self._outcome(PROMOTED, said, digest, stable.artifact_digest))
        if isinstance(found, NoTarget):
            if found.refused is not None:
                digest = found.refused.digest
                told.append(self._outcome(state.reason, state.message, digest, digest))
        elif step.roles.candidate is not None and state.stalled:
            told.append(self._outcome(state.reason, state.message, found.input_digest, found.revision.artifact_digest))
        return [item for item in told if not self._told_before(item)]

    def _outcome(self, outcome: str, message: str, input_digest: str, artifact_digest: str) -> dict[str, Any]:
        return {
            "time": timestamp(self.observed.now),
            "outcome": outcome,
            "inputDigest": input_digest,
            "artifactDigest": artifact_digest,
            "message": message,
        }

    def _stable_before(self) -> str | None:
        name: str | None = (self.observed.obj.get("status", {}).get("stable") or {}).get("revision")
        return name

    def _told_before(self, item: dict[str, Any]) -> bool:
        """Whether the history tells it already, since the last promotion: the same failure is one entry."""
        for entry in reversed(self.observed.obj.get("status", {}).get("history", [])):
            if all(entry.get(name) == item[name] for name in ("outcome", "inputDigest")):
                return True
            if entry["outcome"] == PROMOTED:
                return False
        return False

    def _status(
        self, state: State, step: Step, found: Target | NoTarget, outcomes: list[dict[str, Any]]
    ) -> dict[str, Any]:
        previous, roles = self.observed.obj.get("status", {}), step.roles
        carried = {name: previous[name] for name in ("inputDigest", "artifact", "gates") if name in previous}
        if isinstance(found, Target):
            carried["inputDigest"] = found.input_digest
            if found.artifact is not None:
                carried["artifact"] = found.artifact.wire()
        if isinstance(found, Target) or found.gates:
            carried["gates"] = [gate.wire() for gate in found.gates]
        history = [*previous.get("history", []), *outcomes][-HISTORY_LENGTH:]
        named = {"stable": roles.stable, "candidate": roles.candidate, "retiring": roles.retiring}
        return {
            **_standing(self.observed, _complete(state)),
            **{name: value for name, value in carried.items() if value},
            **{name: revision.wire() for name, revision in named.items() if revision is not None},
            **self._scale(roles),
            **({"history": history} if history else {}),
        }

    def _scale(self, roles: Roles) -> dict[str, Any]:
        """What the scale subresource and a client need: of the revision that has the traffic, or is to have it."""
        shown = roles.stable or roles.candidate
        if shown is None:
            return {}
        counted = self._health(shown)
        selector = server_selector(self.observed.obj, shown)
        domain = f"{self._name}.{self._namespace}.svc.{self.observed.config.cluster_domain}"
        return {
            "replicas": counted.replicas,
            "readyReplicas": counted.ready_replicas,
            "selector": ",".join(f"{name}={value}" for name, value in sorted(selector.items())),
            **({"url": f"http://{domain}/v2/models/{self._name}/infer"} if roles.stable else {}),
        }

    @property
    def _name(self) -> str:
        name: str = self.observed.obj["metadata"]["name"]
        return name

    @property
    def _namespace(self) -> str:
        namespace: str = self.observed.obj["metadata"]["namespace"]
        return namespace


def _accepted(found: Target) -> Claim:
    names = ", ".join(gate.message for gate in found.gates)
    return Claim(True, "GatesPassed", names or "spec.gates asks for nothing beyond the model's own gates.")


def _complete(state: State) -> State:
    """Every condition type is always there."""
    unknown = Claim(None, state.reason, "Not looked at.")
    return replace(state, claims={c.INPUTS_READY: unknown, c.ACCEPTED: unknown, **state.claims})


def _standing(observed: Observed, state: State) -> dict[str, Any]:
    generation = observed.obj["metadata"].get("generation", 0)
    return {
        "phase": state.phase,
        "observedGeneration": generation,
        "conditions": conditions_of(state, observed.obj.get("status", {}), generation, observed.now),
    }


CONTROLLER = Controller(KIND, plan, references)
