"""Keys of trust domains, and envelopes: only what a holder of the key has signed opens."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaon.contract.address import address_of
from kaon.contract.signing import Envelope, SignatureInvalid, SigningKey, opened, verifying_keys
from kaon.contract.trust import TrustDomains

ROOT = bytes(range(32))
KEY = SigningKey.derive(ROOT, "team-a")
TYPE = "application/vnd.kaon.dev.test+json"
CHANGES = 1000


def test_a_domains_key_is_always_the_same_and_no_other_domains() -> None:
    assert SigningKey.derive(ROOT, "team-a").pem == KEY.pem
    others = {SigningKey.derive(ROOT, "team-b").public.id, SigningKey.derive(bytes(32), "team-a").public.id}
    assert KEY.public.id not in others and len(others) == 2


def test_a_root_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 16 bytes; it must have 32"):
        SigningKey.derive(bytes(16), "team-a")


def test_what_was_signed_opens_with_any_of_the_trusted_keys() -> None:
    other = SigningKey.derive(ROOT, "team-b")
    envelope = KEY.sign(TYPE, b"payload")
    both = verifying_keys(other.public.pem + KEY.public.pem)
    assert opened(Envelope.model_validate_json(envelope.model_dump_json(by_alias=True)), both, TYPE) == b"payload"


def test_another_key_or_type_does_not_open_it() -> None:
    envelope = KEY.sign(TYPE, b"payload")
    with pytest.raises(SignatureInvalid, match="none of the 1 trusted keys"):
        opened(envelope, [SigningKey.derive(ROOT, "team-b").public], TYPE)
    with pytest.raises(SignatureInvalid, match="should be 'application/other'"):
        opened(envelope, [KEY.public], "application/other")
    moved = envelope.model_copy(update={"payload_type": "application/other"})
    with pytest.raises(SignatureInvalid):
        opened(moved, [KEY.public], "application/other")


def test_of_1000_changed_payloads_none_opens() -> None:
    draw = random.Random(7)
    envelope = KEY.sign(TYPE, b'{"accuracy": 0.91, "digest": "sha256:00"}')
    payload = bytearray(base64.b64decode(envelope.payload))
    accepted = 0
    for _ in range(CHANGES):
        changed = bytearray(payload)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        try:
            opened(envelope.model_copy(update={"payload": base64.b64encode(changed).decode()}), [KEY.public], TYPE)
            accepted += 1
        except SignatureInvalid:
            continue
    assert accepted == 0


def test_a_file_without_a_public_key_is_refused() -> None:
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(ValueError, match=r"."):
            verifying_keys(pem)


def test_a_private_key_is_read_back() -> None:
    assert SigningKey.from_pem(KEY.pem).public.id == KEY.public.id


def test_a_namespace_is_a_domain_of_its_own_and_gets_into_a_shared_one_by_configuration_alone() -> None:
    trust = TrustDomains(ROOT, {"team-a": "ml", "team-b": "ml"})
    assert trust.key("team-a").public.id == trust.key("team-b").public.id
    # A namespace with the name of the shared domain is not in it.
    assert trust.domain("ml") != trust.domain("team-a")
    assert trust.key("ml").public.id != trust.key("team-a").public.id


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3), st.text(max_size=8))
def test_other_content_is_another_address(content: dict[str, str], declaration: str) -> None:
    address = address_of(declaration, content)
    assert address == address_of(declaration, dict(reversed(content.items())))
    assert address != address_of(declaration, {**content, "source-0": "sha256:other"})
    assert address != address_of(declaration + "x", content)


def test_what_was_verified_once_counts_for_these_very_bytes_alone() -> None:
    signature = KEY.signature(TYPE, b"payload")
    for _ in range(2):
        assert KEY.public.verifies(TYPE, b"payload", signature)
        assert not KEY.public.verifies(TYPE, b"payload2", signature)
        assert not KEY.public.verifies("application/other", b"payload", signature)
        assert not KEY.public.verifies(TYPE, b"payload", KEY.signature(TYPE, b"other"))
        assert not SigningKey.derive(bytes(32), "another").public.verifies(TYPE, b"payload", signature)
