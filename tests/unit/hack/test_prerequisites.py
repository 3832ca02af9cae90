"""What make says of a machine that lacks something: one line for each thing, in seconds, with the way out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import prerequisites
import pytest

ROOT = Path(__file__).resolve().parents[3]
INSTALL_GO = "Install Go 1.25 from https://go.dev/dl and put its bin folder on PATH."
ALWAYS_THERE = ("sh", "make", "id", "dirname", "uname", "env")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH, with what make itself needs and no package manager: nothing is installed by these tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ALWAYS_THERE:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def make(target: str, programs: Path) -> tuple[int, list[str]]:
    """The exit code of `make TARGET` and its lines, make's own left out."""
    # A cache with a cluster's images in it: then no disk is asked for, and this test knows nothing of this one's disk.
    cache = programs.parent / "cache"
    (cache / "stores" / "kaon").mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "PATH": str(programs), "KAON_CACHE": str(cache)}
    command = ["make", target, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    # make's own lines begin with "make:" or "make[1]:".
    return done.returncode, [line for line in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?:", line)]


def installed_go(programs: Path, version: str) -> None:
    """A Go whose every answer is its version."""
    (programs / "go").write_text(
        f"#!/bin/sh\ncase $1 in version) echo go version {version} linux/amd64;; *) echo auto; esac\n"
    )
    (programs / "go").chmod(0o755)


@pytest.mark.parametrize("target", ["test", "test-unit", "test-cluster"])
def test_without_go_the_first_line_says_so_and_nothing_is_started(programs: Path, target: str) -> None:
    code, lines = make(target, programs)
    assert code != 0
    assert lines == [
        f"- Go is missing: no program go on PATH. {INSTALL_GO}",
        f"make {target} was not started.",
    ]


def test_an_old_go_is_named_with_its_version(programs: Path) -> None:
    installed_go(programs, "go1.19.8")
    code, lines = make("test", programs)
    assert code != 0
    assert lines[0].startswith(f"- Go 1.25 or newer is needed, {programs / 'go'} is go1.19. Install Go 1.25")


def test_programs_that_are_missing_are_named_in_the_one_command_that_installs_them(programs: Path) -> None:
    installed_go(programs, "go1.25.1")
    code, lines = make("test", programs)
    assert code != 0
    assert len(lines) == 2
    assert "apt-get install -y" in lines[0]
    assert {"git", "openssl", "prometheus", "redis-server"} <= set(lines[0].split())


@pytest.mark.parametrize("go", ["go1.21.0", "go1.25", "go1.26.3", "go2.0"])
def test_a_go_that_can_fetch_the_wanted_one_is_enough(programs: Path, go: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_go(programs, go)
    monkeypatch.setenv("PATH", str(programs))
    assert prerequisites.go() == ""


def test_a_node_wants_more_than_the_tests_that_start_none(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {name: found.programs for name, found in prerequisites.TARGETS.items()}
    assert set(needs["test-unit"]) | set(needs["test-cluster"]) | set(needs["test-e2e"]) == set(needs["test"])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [name for name, found in prerequisites.TARGETS.items() if found.node()] == ["demo", "test-e2e"]
    assert prerequisites.root("test-e2e").endswith("Run: sudo -E make test-e2e")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [name for name, found in prerequisites.TARGETS.items() if found.node()] == ["demo", "test", "test-e2e"]


def test_without_root_the_end_to_end_tests_are_left_out_and_the_last_lines_say_so() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--without-root"]
    command += ["tests/e2e", "tests/golden"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests/golden/" in done.stdout and "tests/e2e/" not in done.stdout
    files = len(list((ROOT / "tests/e2e").glob("test_*.py")))
    assert f"Left out: the {files} files of tests/e2e" in done.stdout
