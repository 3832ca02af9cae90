"""The signature of an artifact in the form of OpenSSF Model Signing 1.0: a Sigstore bundle over an in-toto statement.

The statement lists the manifest and every file of the attempt with its SHA-256, so that anybody who has the public key
and a copy of the folder can verify it with OpenSSF's own tool, which knows nothing of Kaon. The form:
https://github.com/ossf/model-signing-spec.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kaon.contract.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest
from kaon.contract.signing import Envelope, SignatureInvalid, SigningKey, VerifyingKey, opened

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def signature_path(manifest: Manifest) -> str:
    """Where the signature lies in the artifact's folder."""
    return f"{manifest.attempt}/{SIGNATURE_NAME}"


def sign(manifest: Manifest, data: bytes, key: SigningKey) -> bytes:
    """The bundle that signs a manifest, whose bytes are `data`, and the files that it names."""
    resources = [
        {"name": name, "algorithm": "sha256", "digest": digest}
        for name, digest in sorted(_files(manifest, data).items())
    ]
    whole = hashlib.sha256(b"".join(bytes.fromhex(item["digest"]) for item in resources))
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest.kind, "digest": {"sha256": whole.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [signature_path(manifest)],
            },
            "resources": resources,
        },
    }
    envelope = key.sign(PAYLOAD_TYPE, json.dumps(statement).encode())
    bundle = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.public.id}, "tlogEntries": []},
        "dsseEnvelope": envelope.wire(),
    }
    return json.dumps(bundle).encode()


def verify(bundle: bytes, manifest: Manifest, data: bytes, keys: tuple[VerifyingKey, ...]) -> None:
    """Checks that one of `keys` has signed this very manifest and its files' digests.

    Raises:
        SignatureInvalid: it has not, or the bundle is none.
    """
    try:
        envelope = Envelope.model_validate(json.loads(bundle)["dsseEnvelope"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SignatureInvalid("the signature is no Sigstore bundle") from error
    try:
        statement: Any = json.loads(opened(envelope, keys, PAYLOAD_TYPE))
        kinds = (statement["_type"], statement["predicateType"])
        signed = {item["name"]: (item["algorithm"], item["digest"]) for item in statement["predicate"]["resources"]}
    except (ValueError, KeyError, TypeError) as error:
        raise SignatureInvalid("the signature holds no statement of OpenSSF Model Signing") from error
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise SignatureInvalid(f"the signature is over another statement, {kinds}")
    expected = {name: ("sha256", digest) for name, digest in _files(manifest, data).items()}
    if signed != expected:
        other = sorted(name for name in {*signed, *expected} if signed.get(name) != expected.get(name))
        raise SignatureInvalid(f"the signature is over other bytes of {', '.join(other[:5])}")


def _files(manifest: Manifest, data: bytes) -> dict[str, str]:
    files = {f"{manifest.attempt}/{file.path}": file.sha256 for file in manifest.files}
    return files | {MANIFEST_NAME: hashlib.sha256(data).hexdigest()}
