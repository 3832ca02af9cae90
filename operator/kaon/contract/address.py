"""Addresses of artifacts: what was declared, and the bytes that it stood for. Pure.

A declaration names its sources and its base model by URI; which bytes these are depends on a mounted claim, a Secret's
endpoint, or what somebody has uploaded since. So the address is made of the declaration's digest and the digests of
these bytes: two teams with the same text and other bytes never meet, and the same bytes meet wherever they lie.
"""

from __future__ import annotations

from collections.abc import Mapping

from kaon.contract.digest import digest_of

VERSION = 2
"""Part of every declaration's digest. Artifacts of version 1 were addressed by the declaration alone and not signed."""


def address_of(declaration: str, content: Mapping[str, str]) -> str:
    """The address of the artifact that a declaration makes.

    Args:
        declaration: the digest of what was declared, with the digests of artifacts that it starts from.
        content: role -> digest of the bytes of each source or base model, e.g. {"source-0": "sha256:…"}.
    """
    return digest_of({"declaration": declaration, "content": dict(content)})


def stage_folder(storage_uri: str, domain: str, plural: str) -> str:
    """The folder of all artifacts of a kind in a trust domain."""
    return f"{storage_uri.rstrip('/')}/{domain}/{plural}"


def artifact_uri(folder: str, address: str) -> str:
    """The folder of one artifact."""
    return f"{folder.rstrip('/')}/{address.removeprefix('sha256:')}"


def source_role(index: int) -> str:
    """The role of a Dataset's source, by its place in spec.sources."""
    return f"source-{index}"


BASE_MODEL_ROLE = "base-model"
