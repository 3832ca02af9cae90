"""The memory and the disk that a pod may take: found out, and kept to."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kaon_jobs.budget import ByteCount, bounded_memory
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import memory_limit

MACHINE = memory_limit(Path("/nowhere"))
GIB = 1024**3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1073741824\n"}, GIB),
        ({"memory.max": "max\n"}, MACHINE),
        ({"memory/memory.limit_in_bytes": "1073741824\n"}, GIB),
        # What version 1 says where there is no limit.
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ({}, MACHINE),
    ],
)
def test_the_limit_of_memory_is_the_least_that_holds(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_limit(tmp_path) == expected


def test_the_limit_of_the_process_itself_counts() -> None:
    code = (
        "import resource; from kaon_jobs.machine import memory_limit;"
        "resource.setrlimit(resource.RLIMIT_DATA, (10**9, 10**9)); print(memory_limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(10**9, MACHINE)


def test_an_allocation_beyond_the_memory_is_refused_and_the_limit_is_taken_back() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with (
        pytest.raises(StageFailure, match="too much"),
        bounded_memory(lambda limit: StageFailure("SourceTooLarge", "too much")),
    ):
        bytearray(2 * MACHINE)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_bytes_are_counted_over_everything_that_is_copied(tmp_path: Path) -> None:
    count = ByteCount(100, lambda uri, found: StageFailure("SourceTooLarge", f"{uri} {found}"), tmp_path / "later")
    count.expect("a", 100)
    count.add("a", 60)
    with pytest.raises(StageFailure, match="b 101"):
        count.expect("b", 41)
    with pytest.raises(StageFailure, match="b 110"):
        count.add("b", 50)


def test_scratch_space_of_a_pod_is_kept_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAON_SCRATCH_BYTES", "100")
    count = ByteCount(10**9, lambda uri, found: StageFailure("SourceTooLarge", uri), tmp_path)
    told = r"limited to 100\. Raise spec\.podTemplate\.resources\.limits\.ephemeral-storage"
    with pytest.raises(StageFailure, match=told) as caught:
        count.expect("a", 96)
    assert (caught.value.reason, caught.value.retriable) == ("ScratchTooSmall", False)
    count.expect("a", 95)
    count.add("a", 90)
    with pytest.raises(StageFailure, match=told):
        count.add("a", 6)
