"""The clean process: the files alone must give the answers that were judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.compress.trials.reload import check_reload
from kaon_jobs.errors import StageFailure
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.store.artifact import fetch

TEXTS = ["one text", "another\nof two lines", "", "ein dritter, mit Umlauten: äöü"]


@pytest.fixture
def model(trained: Result, tmp_path: Path) -> OnnxTextModel:
    assert trained.artifact is not None
    fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), tmp_path / "model", kinds={"model"})
    return OnnxTextModel(tmp_path / "model", 1)


def test_a_clean_process_gives_the_same_answers(model: OnnxTextModel, tmp_path: Path) -> None:
    check_reload(tmp_path / "model", TEXTS, model.answers(TEXTS, batch_size=1), threads=1)


def test_other_answers_are_refused_and_so_are_none(model: OnnxTextModel, tmp_path: Path) -> None:
    expected = model.answers(TEXTS, batch_size=1)
    with pytest.raises(StageFailure, match="a probability differs by"):
        check_reload(tmp_path / "model", TEXTS, expected + np.float32(1e-3), threads=1)
    with pytest.raises(StageFailure, match="gets other answers"):
        check_reload(tmp_path / "model", TEXTS, expected * np.float32("nan"), threads=1)
    (tmp_path / "model" / "model.onnx").write_bytes(b"half a file")
    with pytest.raises(StageFailure, match="could not load the compressed model"):
        check_reload(tmp_path / "model", TEXTS, expected, threads=1)
