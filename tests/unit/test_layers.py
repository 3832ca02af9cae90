"""Imports point one way: cli, engine -> controllers -> resources -> contract -> api -> tasks; kaon_jobs -> these three.

Within kaon_jobs they point one way from room to room, and no two modules import each other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from kaon.tasks.registry import TASKS

ROOT = Path(__file__).parents[2]
# A layer may import itself and what its row names. Rows that name nothing import nothing of kaon.
MAY_IMPORT = {
    "kaon.tasks": set(),
    "kaon.api": {"kaon.tasks"},
    "kaon.contract": {"kaon.api", "kaon.tasks"},
    "kaon.resources": {"kaon.api", "kaon.contract", "kaon.tasks"},
    "kaon.controllers": {"kaon.api", "kaon.contract", "kaon.resources", "kaon.tasks"},
    "kaon.engine": {"kaon.api", "kaon.contract", "kaon.controllers", "kaon.resources", "kaon.tasks"},
    "kaon.cli": {"kaon.api", "kaon.tasks"},
    "kaon_jobs": {"kaon.api", "kaon.contract", "kaon.tasks"},
}
# Each room of kaon_jobs imports only rooms that stand before it.
ROOMS = (
    *("errors", "machine", "processor", "fetched", "runtime", "budget", "store", "predict", "report", "context"),
    *("data", "measure", "learn", "pretrained"),
    *("compress.statistics", "compress.verdict", "compress.search", "compress.families", "compress.training"),
    *("compress.techniques", "compress.trials", "compress.evidence"),
    *("tasks", "serve", "programs", "main"),
)
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


def graph_of(package: str, home: Path) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports, wherever in its file."""
    paths = {}
    for path in home.rglob("*.py"):
        parts = path.relative_to(home).with_suffix("").parts
        paths[".".join((package, *(part for part in parts if part != "__init__")))] = path
    graph: dict[str, set[str]] = {module: set() for module in paths}
    for module, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                graph[module].update(alias.name for alias in node.names if alias.name in paths)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    graph[module].update({inner if inner in paths else node.module} & paths.keys())
        graph[module].discard(module)
    return graph


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


def room_of(module: str) -> str | None:
    return next((room for room in ROOMS if f"{module}.".startswith(f"kaon_jobs.{room}.")), None)


def test_a_room_of_the_jobs_imports_only_the_rooms_before_it() -> None:
    graph = graph_of("kaon_jobs", ROOT / "images/jobs/kaon_jobs")
    packages = {"kaon_jobs", "kaon_jobs.compress"}
    assert {module for module in graph if room_of(module) is None} == packages
    wrong = [
        f"{module} imports {name}"
        for module, names in graph.items()
        for name in sorted(names)
        if (here := room_of(module)) is not None
        and (there := room_of(name)) is not None
        and ROOMS.index(there) > ROOMS.index(here)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("package", "home"), [("kaon", "operator/kaon"), ("kaon_jobs", "images/jobs/kaon_jobs")], ids=["kaon", "kaon_jobs"]
)
def test_imports_have_no_circle(package: str, home: str) -> None:
    sorter = TopologicalSorter(graph_of(package, ROOT / home))
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_named_in_its_two_rooms_alone(task: str) -> None:
    module = task.replace("-", "_")
    rooms = {ROOT / f"operator/kaon/tasks/{module}.py", *(ROOT / f"images/jobs/kaon_jobs/tasks/{module}").rglob("*.py")}
    assert all(room.is_file() for room in rooms) and len(rooms) > 1
    code = {path for home in ("operator", "images") for path in (ROOT / home).rglob("*.py")}
    naming = {path for path in code if re.search(rf"\b({task}|{module})\b", path.read_text())}
    assert {str(path.relative_to(ROOT)) for path in naming - rooms} == set()


@pytest.mark.parametrize("layer", ["kaon.tasks", "kaon.contract", "kaon.resources", "kaon.controllers"])
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


def test_the_architecture_page_names_files_that_there_are_and_the_rooms_in_their_order() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    walks = page.partition("## Three walks through the code")[2].partition("\n## ")[0]
    homes = (ROOT, ROOT / "images/jobs/kaon_jobs")
    named = re.findall(r"`([\w/]+\.py)`", walks)
    assert len(named) > 30
    assert [name for name in named if not any((home / name).exists() for home in homes)] == []
    table = page.partition("## The rooms of the jobs")[2].partition("\n## ")[0]
    rooms = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    listed = [name.rstrip("/") for row in rooms for name in re.findall(r"`([\w/]+)`", row)]
    folders = [room for room in ROOMS if (homes[1] / room.replace(".", "/")).is_dir()]
    assert [name.split("/")[-1] for name in listed] == [room.split(".")[-1] for room in folders]


@pytest.mark.parametrize("image", ["jobs", "operator", "torchserve", "triton"])
def test_an_image_has_every_layer_that_its_code_imports(image: str) -> None:
    copied = re.findall(r"^COPY operator/(kaon/\w+) ", (ROOT / "images" / image / "Containerfile").read_text(), re.M)
    layers = {name.replace("/", ".") for name in copied}
    assert "kaon.contract" in layers
    found = {module for layer in layers for path in modules(layer) for module in imports(path)}
    asked = {".".join(name.split(".")[:2]) for name in found if name.startswith("kaon.") and "__" not in name}
    missing = sorted(asked - layers)
    assert missing == []
