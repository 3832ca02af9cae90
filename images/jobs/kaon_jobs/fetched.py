"""What was copied of a stage's inputs into its scratch space. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """A source's files on this disk, each with its URI, and the digest of their bytes."""

    files: Sequence[tuple[str, Path]]
    digest: str


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A base model's folder on this disk, and the digest of what was read of it."""

    directory: Path
    digest: str
