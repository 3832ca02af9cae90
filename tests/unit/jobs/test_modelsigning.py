"""The signature of an artifact is one that OpenSSF's own tool verifies, without knowing anything of Kaon."""

from __future__ import annotations

import shutil
from pathlib import Path

import model_signing
import pytest
from knownkeys import TRUST

from .test_store_writers import folder_of, job_over, publish


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of an artifact's folder, and its public key beside it."""
    job = job_over(tmp_path)
    publish(job, tmp_path)
    shutil.copytree(folder_of(job), tmp_path / "copy")
    (tmp_path / "public.pem").write_bytes(TRUST.key("test").public.pem)
    return tmp_path / "copy"


def verify(folder: Path, key: str = "public.pem") -> None:
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=folder.parent / key)
    config.verify(folder, folder / "one" / "kaon.sig")


def test_a_copy_of_an_artifact_is_verified(copied: Path) -> None:
    verify(copied)


def test_a_changed_file_is_found(copied: Path) -> None:
    (copied / "one" / "evaluation.json").write_text('{"accuracy": 0.99}')
    with pytest.raises(ValueError, match=r"(?i)mismatch"):
        verify(copied)


def test_a_changed_manifest_is_found(copied: Path) -> None:
    (copied / "kaon.json").write_bytes((copied / "kaon.json").read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"(?i)mismatch"):
        verify(copied)


def test_another_key_does_not_verify_it(copied: Path) -> None:
    (copied.parent / "other.pem").write_bytes(TRUST.key("stranger").public.pem)
    with pytest.raises(ValueError, match=r"(?i)key"):
        verify(copied, "other.pem")
