"""The keys of the trust domain, as mounted: what a stage signs with, and whose signatures count. Touches the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from kaon.contract.jobspec import SIGNING_KEY_FILE, SIGNING_SECRET, TRUST_DIR, TRUSTED_KEYS_FILE
from kaon.contract.signing import Envelope, SignatureInvalid, SigningKey, VerifyingKey, opened, verifying_keys
from kaon_jobs.errors import ArtifactCorrupted, StageFailure

Key = TypeVar("Key")

TRUST_VARIABLE = "KAON_TRUST_DIR"
"""Overrides TRUST_DIR where there is no mount, e.g. in tests. Users cannot set a variable of such a name."""

_WAY_OUT = (
    f"The operator makes the Secret {SIGNING_SECRET} in each namespace. If it was replaced or damaged, delete it and "
    "start the stage again after a minute."
)


def signing_key() -> SigningKey:
    """The key that this stage signs with.

    Raises:
        StageFailure: SigningKeyMissing, retriable; or SigningKeyUnusable.
    """
    key = _loaded(SIGNING_KEY_FILE, _signing_key)
    if key.public.id not in {known.id for known in trusted_keys()}:
        raise StageFailure(
            "SigningKeyUnusable", f"{SIGNING_KEY_FILE} does not belong to a key of {TRUSTED_KEYS_FILE}. {_WAY_OUT}"
        )
    return key


def trusted_keys() -> tuple[VerifyingKey, ...]:
    """The keys whose signatures count.

    Raises:
        StageFailure: SigningKeyMissing, retriable; or SigningKeyUnusable.
    """
    return _loaded(TRUSTED_KEYS_FILE, _verifying_keys)


def seal(payload_type: str, payload: bytes) -> bytes:
    """A signed envelope as one JSON document."""
    return signing_key().sign(payload_type, payload).model_dump_json(by_alias=True).encode()


def unseal(payload_type: str, data: bytes, where: str) -> bytes:
    """What `seal` was given, when a trusted key has signed it.

    Raises:
        ArtifactCorrupted: `data`, which lies at `where`, is no envelope, or nobody trusted has signed it.
    """
    try:
        return opened(Envelope.model_validate_json(data), trusted_keys(), payload_type)
    except (ValidationError, SignatureInvalid) as error:
        cause = str(error) if isinstance(error, SignatureInvalid) else "it is no signed envelope"
        raise ArtifactCorrupted(f"{where} is not trusted: {cause}") from error


def write_keys(folder: Path, key: SigningKey) -> None:
    """Writes a domain's keys as they are mounted into a pod."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRUSTED_KEYS_FILE).write_bytes(key.public.pem)
    private = folder / SIGNING_KEY_FILE
    private.touch(mode=0o600)
    private.write_bytes(key.pem)


def _loaded(name: str, parse: Callable[[bytes], Key]) -> Key:
    try:
        return parse((Path(os.environ.get(TRUST_VARIABLE, TRUST_DIR)) / name).read_bytes())
    except OSError as error:
        raise StageFailure("SigningKeyMissing", f"{name} is not mounted. {_WAY_OUT}", retriable=True) from error
    except ValueError as error:
        raise StageFailure("SigningKeyUnusable", f"{name} is unusable: {error}. {_WAY_OUT}") from error


_signing_key = lru_cache(maxsize=4)(SigningKey.from_pem)
_verifying_keys = lru_cache(maxsize=4)(verifying_keys)
