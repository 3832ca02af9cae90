"""What a stage needs to know of the resource before it: its artifact, its Secret, its model's signature. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from kaon.api.common import ArtifactStatus
from kaon.api.report import Result
from kaon.api.signature import Signature
from kaon.controllers.base import Object, OperatorConfig


def artifact_of(upstream: Object) -> ArtifactStatus:
    """The artifact in a ready resource's status.

    Raises:
        KeyError: it has none; ask `await_reference` first.
    """
    return ArtifactStatus.model_validate(upstream["status"]["artifact"])


def secret_of(upstream: Object, config: OperatorConfig) -> str | None:
    """The name of the Secret that opens the store of a resource's artifact."""
    storage = upstream.get("spec", {}).get("storage") or {}
    name: str | None = (storage.get("secretRef") or {}).get("name")
    return name or config.storage_secret


def signature_field(result: Result) -> dict[str, Any]:
    """The status field `signature` of a stage that has made a model."""
    return {"signature": result.signature.wire()} if result.signature is not None else {}


def signature_of(upstream: Object) -> Signature | None:
    """What a request to the model of a ready resource holds; None of a status that does not tell it."""
    told = upstream["status"].get("signature")
    try:
        return None if told is None else Signature.model_validate(told)
    except ValidationError:
        # Written by an operator of another version, which writes it again.
        return None
