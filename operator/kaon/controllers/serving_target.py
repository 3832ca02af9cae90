"""What a ModelDeployment should serve: the referenced model, if its evidence meets the gates. Pure.

Nothing is promoted without evidence: the figures are those in the status of the very resource that made the artifact.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from kaon.api import conditions as c
from kaon.api.common import ArtifactStatus
from kaon.api.evaluation import Evaluation
from kaon.api.modeldeployment import GateResult, ModelDeploymentSpec, Revision
from kaon.api.signature import Signature
from kaon.contract.digest import digest_of, short
from kaon.controllers.base import Key, Object, Observed
from kaon.controllers.conditions import Claim, State, is_true, timestamp
from kaon.controllers.gates import Gate, failures
from kaon.controllers.metrics import foreign_metrics, metric_gates
from kaon.controllers.serving_alerts import unknown_classes
from kaon.controllers.stage import INPUTS_KNOWN, await_reference, waiting
from kaon.controllers.upstream import artifact_of, secret_of, signature_of
from kaon.tasks.base import Task
from kaon.tasks.registry import TASKS


@dataclass(frozen=True, slots=True)
class Target:
    """The revision that should have the traffic. `since` and `weight` mean nothing yet."""

    revision: Revision
    input_digest: str
    artifact: ArtifactStatus | None
    """None for a pinned artifact whose maker has moved on."""
    gates: tuple[GateResult, ...]


@dataclass(frozen=True, slots=True)
class NoTarget:
    """Why nothing new may start, and what the gates said."""

    state: State
    gates: tuple[GateResult, ...] = ()
    refused: ArtifactStatus | None = None
    """The artifact that the gates refuse; None while it is not known yet."""


def resolve(observed: Observed, spec: ModelDeploymentSpec, stable: Revision | None) -> Target | NoTarget:
    """The target, or why there is none."""
    if spec.follow == "Pinned" and stable is not None and stable.model_ref == spec.model_ref:
        return _pinned(observed, spec, stable)
    key = Key(spec.model_ref.kind, observed.obj["metadata"]["namespace"], spec.model_ref.name)
    found = await_reference(observed, key, "spec.modelRef")
    if isinstance(found, State):
        return NoTarget(found)
    if key.kind == "CompressionJob" and not is_true(found, c.ACCEPTED):
        return NoTarget(waiting(c.INPUTS_NOT_READY, f"Waiting for {key.kind} {key.name} to be Accepted."))
    artifact = artifact_of(found)
    evaluation, task = _evaluation(found), TASKS.get(found["status"].get("task", ""))
    if task is not None:
        named = {"spec.gates.minimum": spec.gates.minimum or {}, "spec.gates.maximum": spec.gates.maximum or {}}
        foreign = foreign_metrics(task, named)
        if foreign is not None:
            return NoTarget(foreign)
    unknown = unknown_classes(spec, evaluation, f"{key.kind} {key.name}")
    if unknown is not None:
        return NoTarget(unknown)
    results = _gates(spec, task, evaluation, artifact)
    refusals = [result.message for result in results if not result.passed]
    if refusals:
        message = (
            f"{key.kind} {key.name} does not meet spec.gates: {'; '.join(refusals)}. Change spec.gates, or what makes "
            f"the model; the artifact is {artifact.digest}."
        )
        claims = {c.INPUTS_READY: INPUTS_KNOWN, c.ACCEPTED: Claim(False, c.GATE_FAILED, message)}
        state = State("Degraded", c.GATE_FAILED, message, stalled=True, claims=claims)
        return NoTarget(state, results, artifact)
    secret = _secret(spec) or secret_of(found, observed.config)
    latency = evaluation.latency_ms.p99 if evaluation.latency_ms else None
    judged = digest_of(evaluation.wire())
    signature = signature_of(found)
    revision, digest = _revision(observed, spec, artifact.uri, artifact.digest, judged, secret, latency, signature)
    return Target(revision, digest, artifact, results)


def _pinned(observed: Observed, spec: ModelDeploymentSpec, stable: Revision) -> Target | NoTarget:
    # Its evidence was looked at when it was promoted, and its maker may have made something else since.
    ref = spec.model_ref
    maker = observed.references.get(Key(ref.kind, observed.obj["metadata"]["namespace"], ref.name), {})
    evaluation = _evaluation(maker)
    if stable.evaluation_digest == digest_of(evaluation.wire()):
        unknown = unknown_classes(spec, evaluation, f"{ref.kind} {ref.name}")
        if unknown is not None:
            return NoTarget(unknown)
    secret = _secret(spec) or stable.secret_name
    revision, digest = _revision(
        observed,
        spec,
        stable.artifact_uri,
        stable.artifact_digest,
        stable.evaluation_digest,
        secret,
        stable.latency_p99_ms,
        stable.signature,
    )
    previous = observed.obj.get("status", {}).get("gates", [])
    return Target(revision, digest, None, tuple(GateResult.model_validate(item) for item in previous))


def _secret(spec: ModelDeploymentSpec) -> str | None:
    return spec.storage.secret_ref.name if spec.storage and spec.storage.secret_ref else None


def _revision(
    observed: Observed,
    spec: ModelDeploymentSpec,
    uri: str,
    artifact_digest: str,
    evaluation_digest: str | None,
    secret: str | None,
    latency_p99_ms: float | None,
    signature: Signature | None,
) -> tuple[Revision, str]:
    """A revision and the digest that names it. Replicas, limits and pod templates change in place and are not in it."""
    declared = {
        "kind": observed.obj["kind"],
        "artifact": artifact_digest,
        "server": spec.server,
        "threads": spec.threads,
        "batching": spec.batching.declared(),
        **({"rerun": spec.rerun} if spec.rerun else {}),
    }
    digest = digest_of(declared)
    revision = Revision(
        revision=short(digest, 8),
        model_ref=spec.model_ref,
        server=spec.server,
        threads=spec.threads,
        batching=spec.batching,
        artifact_uri=uri,
        artifact_digest=artifact_digest,
        evaluation_digest=evaluation_digest,
        secret_name=secret,
        latency_p99_ms=latency_p99_ms,
        signature=signature,
        since=timestamp(observed.now),
        weight=0,
    )
    return revision, digest


def _evaluation(upstream: Object) -> Evaluation:
    try:
        return Evaluation.model_validate(upstream.get("status", {}).get("evaluation"))
    except ValidationError:
        # No evaluation is one without figures: every gate that asks for one fails, and says so.
        return Evaluation(split="none", rows=0)


def _gates(
    spec: ModelDeploymentSpec, task: Task | None, evaluation: Evaluation, artifact: ArtifactStatus
) -> tuple[GateResult, ...]:
    latency = evaluation.latency_ms.p99 if evaluation.latency_ms else None
    size = evaluation.size_bytes if evaluation.size_bytes is not None else artifact.size_bytes
    gates = (
        *metric_gates(task, evaluation, spec.gates.minimum, spec.gates.maximum),
        Gate("latencyMs.p99", latency, spec.gates.max_latency_ms, "at most"),
        Gate("sizeBytes", size, spec.gates.max_size_bytes, "at most"),
    )
    asked = [gate for gate in gates if gate.bound is not None]
    return tuple(GateResult(name=gate.name, passed=not failures([gate]), message=str(gate)) for gate in asked)
