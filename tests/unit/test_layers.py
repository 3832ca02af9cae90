"""Imports point one way: cli, engine -> controllers -> resources -> contract -> api; kaon_jobs -> contract, api."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A layer may import itself and what its row names. Rows that name nothing import nothing of kaon.
MAY_IMPORT = {
    "kaon.api": set(),
    "kaon.contract": {"kaon.api"},
    "kaon.resources": {"kaon.api", "kaon.contract"},
    "kaon.controllers": {"kaon.api", "kaon.contract", "kaon.resources"},
    "kaon.engine": {"kaon.api", "kaon.contract", "kaon.controllers", "kaon.resources"},
    "kaon.cli": {"kaon.api"},
    "kaon_jobs": {"kaon.api", "kaon.contract"},
}
IMPURE = {"asyncio", "httpx", "kopf", "kubernetes", "os", "pathlib", "random", "socket", "subprocess", "time"}


def modules(layer: str) -> list[Path]:
    home = ROOT / "images/jobs/kaon_jobs" if layer == "kaon_jobs" else ROOT / "operator" / layer.replace(".", "/")
    return sorted(home.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module if node.module != "kaon" else f"kaon.{node.names[0].name}"


def layer_of(module: str) -> str | None:
    return next((layer for layer in MAY_IMPORT if module == layer or module.startswith(layer + ".")), None)


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_only_the_layers_below_it(layer: str) -> None:
    files = modules(layer)
    assert files, f"no modules in {layer}"
    allowed = MAY_IMPORT[layer] | {layer}
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imports(path)
        if layer_of(name) is not None and layer_of(name) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("layer", ["kaon.contract", "kaon.resources", "kaon.controllers"])
def test_layers_that_decide_do_no_input_or_output(layer: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(layer)
        for name in imports(path)
        if name.split(".")[0] in IMPURE
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["operator", "images/jobs"])
def test_the_roots_of_the_packages_are_no_packages_themselves(folder: str) -> None:
    # A package named operator would hide the standard library's module of that name.
    assert not (ROOT / folder / "__init__.py").exists()
