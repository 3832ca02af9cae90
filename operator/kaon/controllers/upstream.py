"""What a stage needs to know of the resource before it: its artifact, and the Secret that opens it. Pure."""

from __future__ import annotations

from kaon.api.common import ArtifactStatus
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
