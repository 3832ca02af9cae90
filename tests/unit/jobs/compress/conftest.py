"""Fixtures of the compression tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.store.artifact import fetch


@pytest.fixture(scope="module")
def source(trained: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained model, tiny and real."""
    assert trained.artifact is not None
    directory = tmp_path_factory.mktemp("model")
    fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), directory, kinds={"model"})
    return directory
