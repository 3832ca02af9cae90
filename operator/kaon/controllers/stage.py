"""What a kind that runs a Job says of itself: Dataset, TrainingRun and CompressionJob. Pure.

A kind resolves its references into the work to do and says what its result means. Here are the words for that, and what
the kinds share in saying it; stage_plan.py makes the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from kaon.api import conditions as c
from kaon.api.common import StageSpec
from kaon.api.report import ReportStatus, Result
from kaon.contract.jobspec import StoreAccess, Work
from kaon.controllers.base import Child, Key, Object, Observed
from kaon.controllers.conditions import Claim, State, condition, is_true

Spec = TypeVar("Spec", bound=StageSpec)

HISTORY_LENGTH = 10
NOT_IN_DIGEST = frozenset(
    {"suspend", "podTemplate", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "storage"}
)


@dataclass(frozen=True, slots=True)
class Ready:
    """The inputs are there: what to do, what addresses it, and which Secrets open the stores."""

    work: Work
    declared: Mapping[str, Any]
    """The part of the spec and the digests of the inputs that can change the result; the digest is made of it."""
    secrets: frozenset[str]
    selection: Mapping[str, Any] = field(default_factory=dict)
    """What only says where the declared bytes are found: claims and Secrets. Another selection is another run of the
    stage, which finds the finished artifact when the bytes are the same."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The part of the kind's status that follows from the inputs alone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a result means for the resource: where it stands, and the kind's own part of the status."""

    state: State
    fields: Mapping[str, Any]
    artifact: bool = True
    """Whether the artifact may be used by what comes after."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a kind says of itself."""

    kind: str
    plural: str
    short_name: str
    program: str
    """The part of a result that this kind's program fills."""
    spec_model: type[StageSpec]
    resolve: Callable[[Observed, Any, StoreAccess], Ready | State]
    """(observed, parsed spec, the stage's store) -> the work, or why it waits."""
    judge: Callable[[Any, Any, Result], Verdict]
    """(parsed spec, the work that was done, result) -> the verdict."""
    running_fields: Callable[[ReportStatus], Mapping[str, Any]] = field(default=lambda said: {})
    """The kind's own part of the status while its Job runs."""


def invalid_spec(error: ValidationError) -> State:
    """A spec that the API server let through but this operator cannot read (an object of another version)."""
    lines = [f"spec.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5]]
    return State("Failed", c.INVALID_SPEC, "; ".join(lines), stalled=True)


def storage_of(observed: Observed, spec: StageSpec) -> StoreAccess | State:
    """The store that a resource's artifact goes to: its own, or the operator's."""
    config = observed.config
    secret = spec.storage.secret_ref.name if spec.storage and spec.storage.secret_ref else config.storage_secret
    uri = spec.storage.uri if spec.storage else config.storage_uri
    if uri is None:
        return State(
            "Failed",
            c.STORAGE_NOT_CONFIGURED,
            "There is no artifact store: set spec.storage.uri, or storage.uri in the operator's Helm values.",
            stalled=True,
        )
    return StoreAccess(uri=uri.rstrip("/"), secret=secret)


def declared(spec: StageSpec, leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The part of a spec that addresses its stage: what was declared, without what cannot change the result.

    An explicit store is part of it, since another store has other artifacts; its Secret is not.
    """
    content = spec.declaration
    found = {name: value for name, value in content.items() if name not in NOT_IN_DIGEST | leave_out}
    return found | ({"storage": content["storage"]["uri"]} if "storage" in content else {})


def claims(spec: StageSpec) -> dict[str, Any]:
    """The claims that the stage's file URIs lead into: mount path -> claim."""
    volumes = spec.pod_template.volumes
    return {"claims": {item.mount_path: item.persistent_volume_claim for item in volumes}} if volumes else {}


def await_reference(observed: Observed, key: Key, field_path: str) -> State | Object:
    """The referenced resource when it is ready for its present generation, or why not."""
    found = observed.references.get(key)
    if found is None:
        return waiting(
            c.REFERENCE_NOT_FOUND,
            f"{field_path} names the {key.kind} {key.name!r}, which does not exist in namespace {key.namespace}. "
            "Create it, or correct the name; this resource starts by itself then.",
        )
    if is_true(found, c.READY) and found.get("status", {}).get("artifact"):
        return found
    stalled = condition(found, c.STALLED)
    if stalled is not None and stalled["status"] == "True":
        return waiting(
            c.INPUTS_FAILED,
            f"{key.kind} {key.name} failed ({stalled['reason']}): {stalled['message']} "
            "This resource starts by itself when that one is ready.",
        )
    # Not what that one is doing at the moment: each step of it would be a write to each that waits.
    return waiting(c.INPUTS_NOT_READY, f"Waiting for {key.kind} {key.name} to be ready.")


def waiting(reason: str, message: str) -> State:
    """A state that waits for inputs."""
    return State("Waiting", reason, message, claims={c.INPUTS_READY: Claim(False, reason, message)})


INPUTS_KNOWN = Claim(True, c.SUCCEEDED, "Every input is ready and its digest is known.")


def succeeded(message: str, **claims: Claim) -> State:
    """A state of a stage that is done and may be used."""
    return State("Succeeded", c.SUCCEEDED, message, ready=True, claims={c.INPUTS_READY: INPUTS_KNOWN, **claims})


def failed(reason: str, message: str, **claims: Claim) -> State:
    """A state of a stage that ended badly: nothing more happens until somebody changes something."""
    return State("Failed", reason, message, stalled=True, claims={c.INPUTS_READY: INPUTS_KNOWN, **claims})


def working(phase: str, reason: str, message: str) -> State:
    """A state of a stage whose inputs are there and whose result is not."""
    return State(phase, reason, message, claims={c.INPUTS_READY: INPUTS_KNOWN})


def kept(observed: Observed) -> tuple[Child, ...]:
    """What exists, as it is: while inputs are missing nothing starts, and nothing that runs is lost."""
    return tuple(Child(child, mode="keep") for child in observed.children.values() if _owned(observed, child))


def _owned(observed: Observed, child: Object) -> bool:
    uid = observed.obj["metadata"]["uid"]
    return any(owner.get("uid") == uid for owner in child["metadata"].get("ownerReferences", []))
