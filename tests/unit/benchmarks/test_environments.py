"""Environments of peers: what is installed goes into them, and never into the one that runs the benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from environments import HERE, commands, interpreter


@pytest.mark.parametrize("lock", sorted([*HERE.glob("peers/*.lock"), HERE / "judge.lock"]), ids=lambda path: path.stem)
def test_packages_are_installed_by_hash_into_the_environment_of_the_lock_file(lock: Path, tmp_path: Path) -> None:
    made, installed = commands(tmp_path / "peer", lock)
    assert made[-1] == str(tmp_path / "peer")
    assert installed[installed.index("--python") + 1] == str(interpreter(tmp_path / "peer"))
    assert "--require-hashes" in installed
    assert sys.executable not in installed


def test_an_environment_is_another_than_the_one_that_makes_it(tmp_path: Path) -> None:
    create, install = commands(tmp_path / "peer", tmp_path / "empty.lock")
    (tmp_path / "empty.lock").touch()
    subprocess.run(create, check=True)
    asked = [install[0], "pip", "list", "--quiet", *install[install.index("--python") : install.index("--python") + 2]]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip() == ""
