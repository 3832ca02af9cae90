"""Signatures of a trust domain: ECDSA over P-256 with SHA-256, in DSSE envelopes. Pure.

The operator holds one root key and derives from it the signing key of each trust domain, so it has to remember nothing
and an installation needs one secret. Stage pods sign with their domain's key; whoever reads verifies with the public
half. DSSE is the envelope of in-toto and Sigstore: https://github.com/secure-systems-lab/dsse.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field

from kaon.api.base import ApiModel

ROOT_KEY_BYTES = 32
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_BYTES = 48
"""Half as much again as the key has: taken modulo the order, the bias is below 2^-128 (FIPS 186-5, A.2.1)."""
MOST_REMEMBERED = 10_000
"""Signatures that a key remembers to have verified."""


class SignatureInvalid(Exception):
    """What was read is not what a holder of the key has signed."""


class EnvelopeSignature(ApiModel):
    """One signature: base64 of the DER form, and the SHA-256 (hex) of the public key's PEM."""

    sig: str
    keyid: str = ""


class Envelope(ApiModel):
    """A DSSE envelope: base64 of the payload, its type, and the signatures over both."""

    payload: str
    payload_type: str
    signatures: list[EnvelopeSignature] = Field(min_length=1, max_length=8)


class SigningKey:
    """The private key of a trust domain."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = VerifyingKey(key.public_key())
        self.pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        """The PEM file (PKCS 8, not encrypted). Made once: each plan of a stage holds it."""

    @classmethod
    def derive(cls, root: bytes, domain: str) -> SigningKey:
        """The key of a trust domain, always the same for the same root key (HKDF-SHA256, RFC 5869).

        Raises:
            ValueError: the root key has not ROOT_KEY_BYTES bytes.
        """
        if len(root) != ROOT_KEY_BYTES:
            raise ValueError(f"the root key has {len(root)} bytes; it must have {ROOT_KEY_BYTES}")
        derived = HKDF(hashes.SHA256(), _SCALAR_BYTES, salt=None, info=f"kaon.dev/signing/{domain}".encode())
        scalar = int.from_bytes(derived.derive(root)) % (P256_ORDER - 1) + 1
        return cls(ec.derive_private_key(scalar, ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Reads a PEM file (PKCS 8).

        Raises:
            ValueError: it holds no private key of P-256.
        """
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not a key of the curve P-256")
        return cls(key)

    def sign(self, payload_type: str, payload: bytes) -> Envelope:
        """The payload in a signed envelope."""
        return Envelope(
            payload=base64.b64encode(payload).decode(),
            payload_type=payload_type,
            signatures=[EnvelopeSignature(sig=self.signature(payload_type, payload), keyid=self.public.id)],
        )

    def signature(self, payload_type: str, payload: bytes) -> str:
        """The signature alone, as base64."""
        # Deterministic (RFC 6979): told again, it is the same bytes, and bad randomness gives no key away.
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        signature = self._key.sign(_encoding(payload_type, payload), algorithm)
        return base64.b64encode(signature).decode()


class VerifyingKey:
    """The public key of a trust domain."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self.pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.id = hashlib.sha256(self.pem).hexdigest()
        self._verified: set[bytes] = set()
        """Digests of what was verified, payload and signature together: a result is looked at in each plan."""

    def verifies(self, payload_type: str, payload: bytes, signature: str) -> bool:
        """Whether a signature (base64) is this key's over the payload."""
        try:
            raw = base64.b64decode(signature, validate=True)
            signed = _encoding(payload_type, payload)
            seen = hashlib.sha256(hashlib.sha256(signed).digest() + raw).digest()
            if seen in self._verified:
                return True
            self._key.verify(raw, signed, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        if len(self._verified) >= MOST_REMEMBERED:
            self._verified.clear()
        self._verified.add(seen)
        return True


def verifying_keys(pem: bytes) -> tuple[VerifyingKey, ...]:
    """The public keys in a PEM file, in order.

    Raises:
        ValueError: a block is no public key of P-256, or there is none.
    """
    end = b"-----END PUBLIC KEY-----"
    blocks = [part.lstrip() + end for part in pem.split(end)[:-1]]
    keys = []
    for block in blocks:
        try:
            key = serialization.load_pem_public_key(block)
        except UnsupportedAlgorithm as error:
            raise ValueError(str(error)) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not a key of the curve P-256")
        keys.append(VerifyingKey(key))
    if not keys:
        raise ValueError("no public key in it")
    return tuple(keys)


def opened(envelope: Envelope, keys: Iterable[VerifyingKey], payload_type: str) -> bytes:
    """The payload of an envelope that one of `keys` has signed.

    Raises:
        SignatureInvalid: its type is another, or none of the keys has signed it.
    """
    if envelope.payload_type != payload_type:
        raise SignatureInvalid(f"it says to be {envelope.payload_type[:100]!r} and should be {payload_type!r}")
    try:
        payload = base64.b64decode(envelope.payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid("its payload is not base64") from error
    known = tuple(keys)
    if any(key.verifies(payload_type, payload, one.sig) for key in known for one in envelope.signatures):
        return payload
    raise SignatureInvalid(
        f"none of the {len(known)} trusted keys ({', '.join(key.id[:12] for key in known)}) has signed it; "
        f"it names the key {envelope.signatures[0].keyid[:12] or '(none)'}"
    )


@lru_cache(maxsize=1024)
def domain_key(root: bytes, domain: str) -> SigningKey:
    """The signing key of a trust domain; derived once."""
    return SigningKey.derive(root, domain)


def _encoding(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE 1.0."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
