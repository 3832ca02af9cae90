"""Digests: the SHA-256 of canonical JSON. The address of a stage is the digest of what was declared for it."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """JSON in one form only: sorted keys, no white space, UTF-8, integral floats as integers, no NaN.

    Raises:
        ValueError: a float is NaN or infinite.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _plain(value: Any) -> Any:
    # The API server stores 1.0 as 1: both must have one digest.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def digest_of(value: Any) -> str:
    """`sha256:<64 hex digits>` of the canonical JSON of `value`."""
    return f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}"


def text_digest(text: str) -> str:
    """`sha256:<64 hex digits>` of a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def short(digest: str, length: int = 10) -> str:
    """The first hex digits of a digest, for names."""
    return digest.removeprefix("sha256:")[:length]
