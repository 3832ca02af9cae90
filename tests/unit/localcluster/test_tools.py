"""A binary's key changes with all that decides what it is, and with nothing else; versions come from go.mod."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from localcluster.errors import LocalClusterError
from localcluster.tools import Module, build_key, module_of, modules, required_version


@pytest.fixture
def module(tmp_path: Path) -> Module:
    (tmp_path / "go.mod").write_text("module m\n\nrequire example.com/thing v1.35.4\n")
    (tmp_path / "go.sum").write_text("sums\n")
    (tmp_path / "main.go").write_text("package main\n")
    return Module("m", tmp_path, {"m": "."}, version_of="example.com/thing", ldflags="-X v={version} -X m={minor}")


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_changed_source_is_another_binary(module: Module, file: str) -> None:
    before = build_key(module, "go1.25.0")
    with (module.folder / file).open("a") as changed:
        changed.write("\n// changed\n")
    assert build_key(module, "go1.25.0") != before


def test_another_go_version_or_other_flags_are_another_binary(module: Module) -> None:
    keys = {build_key(module, "go1.25.0"), build_key(module, "go1.26.8")}
    keys.add(build_key(replace(module, ldflags="-X other=1"), "go1.25.0"))
    assert len(keys) == 3


def test_the_same_sources_elsewhere_are_the_same_binary(module: Module, tmp_path: Path) -> None:
    shutil.copytree(module.folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("decides nothing")
    assert build_key(replace(module, folder=tmp_path / "copy"), "go1.25.0") == build_key(module, "go1.25.0")


def test_linker_flags_carry_the_required_version(module: Module) -> None:
    assert module.flags() == "-s -w -X v=1.35.4 -X m=35"


def test_a_version_is_found_in_a_block_and_on_a_line_of_its_own() -> None:
    assert required_version("require a.io/b v1.2.3\n", "a.io/b") == "1.2.3"
    assert required_version("require (\n\ta.io/bb v9.0.0\n\ta.io/b v1.2.3 // indirect\n)\n", "a.io/b") == "1.2.3"


def test_a_module_that_is_not_required_is_an_error() -> None:
    with pytest.raises(LocalClusterError, match=r"a\.io/c"):
        required_version("require a.io/b v1.2.3\n", "a.io/c")


def test_every_module_of_the_table_exists_and_states_its_version() -> None:
    for module in modules().values():
        assert (module.folder / "go.mod").exists()
        assert module.flags().startswith("-s -w")


def test_no_program_comes_from_two_modules() -> None:
    programs = [program for module in modules().values() for program in module.programs]
    assert len(programs) == len(set(programs))


def test_a_program_is_found_by_its_link_and_an_unknown_one_lists_the_known() -> None:
    assert module_of("kubectl").name == "cluster"
    assert module_of("argocd-repo-server").name == "argocd"
    with pytest.raises(LocalClusterError, match=r"helm.*versitygw"):
        module_of("kind")
