"""Lists what an image is made of, as CycloneDX 1.6 JSON: Debian packages, Python distributions, Go modules.

The last step of each Containerfile runs it inside the image that it describes, so it names what is installed and not
what was asked for. The same image gives the same bytes: there is no time and no random number in it. Standard library
only. Reads the image's file system; writes the list to --output.

    python3 sbom.py --name kaon/operator --source . --python /opt/kaon --output /usr/share/kaon/sbom.cdx.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
MADE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""The name space of serial numbers: the one of URLs."""


def debian(root: Path) -> Iterator[Component]:
    """The packages that dpkg has installed."""
    status = root / "var/lib/dpkg/status"
    if not status.is_file():
        return
    release = _fields((root / "etc/os-release").read_text(), "=")
    distribution = f"{release.get('ID', 'debian')}-{release.get('VERSION_ID', '')}".strip('"-').replace('"', "")
    for block in status.read_text().split("\n\n"):
        fields = _fields(block, ": ")
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            about = f"arch={fields['Architecture']}&distro={distribution}"
            yield _component(name, version, f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?{about}")


def python(prefixes: Iterable[Path]) -> Iterator[Component]:
    """The distributions of virtual environments, with the licences that they declare."""
    paths = [str(path) for prefix in prefixes for path in sorted(prefix.glob("lib/python3*/site-packages"))]
    for found in distributions(path=paths):
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        component = _component(name, found.version, f"pkg:pypi/{name}@{quote(found.version, safe='')}")
        licence = found.metadata.get("License-Expression")
        yield component | ({"licenses": [{"expression": licence}]} if licence else {})


def locked(file: Path) -> Iterator[Component]:
    """What a lock file pins, for an image that keeps a program of a distribution and not the distribution."""
    for name, version in re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^\s\\;]+)", file.read_text()):
        name = re.sub(r"[-_.]+", "-", name).lower()
        yield _component(name, version, f"pkg:pypi/{name}@{quote(version, safe='')}")


def go(listing: str) -> Iterator[Component]:
    """The modules that `go version -m PROGRAM` names, with their checksums (h1 of go.sum), and the Go that built it."""
    lines = [line.split("\t") for line in listing.splitlines()]
    compiler = re.search(r": go(\S+)", lines[0][0] if lines else "")
    if compiler:
        yield _component("stdlib", compiler[1], f"pkg:golang/stdlib@{compiler[1]}")
    for line in lines:
        if len(line) >= 4 and line[1] in ("dep", "mod", "=>") and line[3] != "(devel)":
            name, version = line[2], line[3]
            path = "/".join(quote(part) for part in name.split("/"))
            component = _component(name, version, f"pkg:golang/{path}@{quote(version, safe='')}")
            checksum = line[4] if len(line) > 4 else ""
            yield component | ({"properties": [{"name": "go:h1", "value": checksum}]} if checksum else {})


def document(name: str, version: str, components: Iterable[Component]) -> dict[str, Any]:
    """The list as CycloneDX, each component once, in order."""
    found = {component["bom-ref"]: component for component in components}
    ordered = [found[reference] for reference in sorted(found)]
    content = hashlib.sha256(json.dumps([name, version, ordered], sort_keys=True).encode()).hexdigest()
    reference = f"pkg:oci/{name.rpartition('/')[2]}@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(MADE, content)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": reference, "name": name, "version": version}},
        "components": ordered,
        "dependencies": [{"ref": reference, "dependsOn": [component["bom-ref"] for component in ordered]}],
    }


def kaon_version(source: Path) -> str:
    """Kaon's version, from the package in the image's source folder."""
    found = re.search(r'__version__ = "([^"]+)"', (source / "operator/kaon/__init__.py").read_text())
    if not found:
        raise ValueError(f"{source}/operator/kaon/__init__.py names no __version__")
    return found[1]


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _fields(text: str, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.splitlines() if line[:1].strip())
    return {key: value.strip() for key, found, value in pairs if found}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; fails when nothing was found, since an image is made of something."""
    parser = argparse.ArgumentParser(description="Write an image's list of components.")
    parser.add_argument("--name", required=True, help="the image's repository, e.g. kaon/operator")
    parser.add_argument("--source", type=Path, required=True, help="folder with operator/kaon/__init__.py")
    parser.add_argument("--root", type=Path, default=Path("/"), help="root of the image's file system")
    parser.add_argument("--python", type=Path, action="append", default=[], help="a virtual environment")
    parser.add_argument("--lock", type=Path, action="append", default=[], help="a lock file of pip")
    parser.add_argument("--go", type=Path, action="append", default=[], help="output of `go version -m`")
    parser.add_argument("--no-base", action="store_true", help="the image has no base, and so no interpreter or Debian")
    parser.add_argument("--output", type=Path, required=True, help="where the list goes")
    options = parser.parse_args(arguments)
    found = [*python(options.python)]
    for file in options.lock:
        found += locked(file)
    for file in options.go:
        found += go(file.read_text())
    if not options.no_base:
        version = platform.python_version()
        found += [*debian(options.root), _component("cpython", version, f"pkg:generic/cpython@{version}")]
    if not found:
        print("no components found", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(options.name, kaon_version(options.source), found), indent=1, sort_keys=True)
    options.output.write_text(text + "\n")
    print(f"{options.output}: {len(found)} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
