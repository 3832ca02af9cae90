"""A network on real rows, from its artifacts through the whole compress stage to a model that the judge can load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import kaon_auto
import numpy as np
import pytest
import trained
from cases import CASES, NetCase
from contract import Result, read_case

from kaon_jobs.data.splits import fetch_dataset, read_split
from kaon_jobs.predict.opening import open_model
from kaon_jobs.store.artifact import fetch


@pytest.fixture(scope="module")
def claims() -> Iterator[None]:
    """Behind file:///mnt stands the whole of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAON_CLAIMS_DIR", "/")
        yield


@pytest.fixture(scope="module")
def made(claims: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, kaon_auto.Trained, Result]:
    """The case of breast_cancer, its artifacts, and what a search of four trials made of them."""
    root = tmp_path_factory.mktemp("network")
    declared = CASES["cancer"]
    assert isinstance(declared, NetCase)
    case = trained.write("cancer", declared, root, root / "case", 1)
    artifacts = trained.publish(case, root / "store")
    return root, artifacts, kaon_auto.run(case, artifacts, {"seed": 0, "maxTrials": 4}, root / "out")


def test_the_artifacts_hold_the_rows_and_the_network_answers_them(
    made: tuple[Path, kaon_auto.Trained, Result], tmp_path: Path
) -> None:
    _, (model, data), _ = made
    fetch(model, tmp_path / "model", kinds={"model"})
    fetch_dataset(data, tmp_path / "data")
    test = read_split(tmp_path / "data", "test")
    assert len(test) == 171 and test.inputs[0].shape == (30,)
    answers = open_model(tmp_path / "model", 1).answers(test.inputs).argmax(axis=1)
    assert np.mean(answers == test.targets) > 0.95


def test_publishing_again_finds_the_same_artifacts(made: tuple[Path, kaon_auto.Trained, Result]) -> None:
    root, artifacts, _ = made
    case = read_case(root / "case")
    assert trained.publish(case, root / "store")[1] == artifacts[1]


def test_the_stage_makes_a_smaller_network_of_channels_and_proves_it(
    made: tuple[Path, kaon_auto.Trained, Result],
) -> None:
    root, _, result = made
    assert result.failure is None and result.made is not None
    assert "prune-channels" in result.made.did or "int8" in result.made.did
    small = (root / "out" / result.made.model).stat().st_size
    assert small < 0.5 * (root / "case" / "model.onnx").stat().st_size
