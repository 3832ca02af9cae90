"""A source that grows when it is read ends the stage once, within the pod's memory, with its name and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from bombs.sources import BOMBS
from bombs.stage import MIB, dataset_work, run_stage

MEMORY = 512 * MIB


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_source_that_grows_ends_the_stage_once_within_its_memory(tmp_path: Path, bomb: str) -> None:
    make, reason, said = BOMBS[bomb]
    name = make(tmp_path)
    ended = run_stage(tmp_path, dataset_work(tmp_path, name), MEMORY)
    print(f"{bomb}: {ended.peak_bytes // MIB} MiB, {ended.seconds:.1f} s: {ended.message}")
    assert ended.code == 64, ended.log
    assert ended.message.startswith(f"{reason}: ") and said in ended.message
    assert f"/{name}" in ended.message
    assert ended.peak_bytes < MEMORY


def test_a_source_over_its_bytes_is_not_copied_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("wb") as file:
        file.truncate(4 * 1024 * MIB)
    ended = run_stage(tmp_path, dataset_work(tmp_path, "x.csv"), MEMORY, sourceBytes=8 * MIB)
    assert ended.code == 64
    assert ended.message.startswith("SourceTooLarge: ") and "8,388,608 is the limit" in ended.message
    assert "raise the Helm value budgets.sourceBytes" in ended.message
    assert ended.seconds < 60


def test_a_source_larger_than_the_pods_scratch_space_is_not_copied_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAON_SCRATCH_BYTES", str(100 * MIB))
    with (tmp_path / "x.csv").open("wb") as file:
        file.truncate(4 * 1024 * MIB)
    ended = run_stage(tmp_path, dataset_work(tmp_path, "x.csv"), MEMORY)
    assert ended.code == 64 and ended.message.startswith("ScratchTooSmall: ")
    assert "limited to 104,857,600. Raise spec.podTemplate.resources.limits.ephemeral-storage" in ended.message


def test_files_of_a_folder_are_counted_together_and_before_they_are_copied(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for number in range(3):
        (tmp_path / "x" / f"{number}.csv").write_bytes(b"text,label\n" + b"a,b\n" * MIB)
    ended = run_stage(tmp_path, dataset_work(tmp_path, "x"), MEMORY, sourceBytes=8 * MIB)
    assert ended.code == 64 and "have at least 12,582,945 bytes, and 8,388,608 is the limit" in ended.message
