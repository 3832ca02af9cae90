"""A sample of damaged folders. The many: `python tests/families --folders 500`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fuzz import Bases, damaged


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tmp_path_factory.mktemp("bases"))


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_folder_is_refused_with_its_file_or_trained_with_its_own_weights(
    seed: int, bases: Bases, tmp_path: Path
) -> None:
    damaged(seed, bases, tmp_path)
