"""Lets the tests import what makes the inputs, and opens any path of this machine as a claim."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session", autouse=True)
def claims() -> Iterator[None]:
    """Behind file:///mnt stands any path of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAON_CLAIMS_DIR", "/")
        yield
