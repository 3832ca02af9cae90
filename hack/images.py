"""Builds Kaon's images into a local cluster's image store, under tags made of their content.

A tag is the digest of everything that goes into the image: its Containerfile, the files that it copies, its build
arguments and the tag of its base. An image that is there already is therefore the right one, and is not built again;
nobody has to say what changed. Standard library only. Touches the cluster's image store.

    python3 hack/images.py --cluster kaon [--values values.yaml] [NAME …]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "hack" / "localcluster"))

from localcluster import Cluster, LocalClusterError  # noqa: E402

PREFIX = "localhost/kaon"
DEBIAN = "base"
"""The Debian image that the cluster makes itself; the base of all others."""
LEFT_OUT = re.compile(r"(^|/)__pycache__(/|$)|\.pyc$")


class ImageError(Exception):
    """A Containerfile that cannot be understood; the message says what."""


@dataclass(frozen=True)
class Image:
    """One image: its Containerfile, the image it starts from, and what it is, for people."""

    name: str
    containerfile: str
    base: str
    about: str


IMAGES = {
    image.name: image
    for image in (
        Image("ml-base", "images/jobs/base.Containerfile", DEBIAN, "PyTorch and what stages need; 11 GB, some minutes"),
        Image("jobs", "images/jobs/Containerfile", "ml-base", "the stages"),
        Image("operator", "images/operator/Containerfile", DEBIAN, "the operator"),
        Image("triton", "images/triton/Containerfile", DEBIAN, "Triton with the runtime"),
        Image("torchserve", "images/torchserve/Containerfile", "ml-base", "TorchServe"),
        Image("router", "images/router/Containerfile", DEBIAN, "Envoy"),
        Image("store", "images/store/Containerfile", DEBIAN, "the embedded S3 store"),
    )
}
"""In the order of building: a base before what starts from it."""
RELEASED = tuple(name for name in IMAGES if name != "ml-base")
"""The images that the chart names."""


def with_bases(names: Sequence[str]) -> list[str]:
    """The images named and those that they start from, in the order of building."""
    wanted: set[str] = set()
    for name in names:
        while name != DEBIAN:
            if name not in IMAGES:
                raise ImageError(f"no image is called {name!r}; there are: {', '.join(IMAGES)}")
            wanted.add(name)
            name = IMAGES[name].base
    return [name for name in IMAGES if name in wanted]


def references(names: Sequence[str], debian: str, root: Path = ROOT) -> dict[str, str]:
    """Image name -> reference with its content's tag, bases included. `debian` is the reference of the Debian base."""
    found = {DEBIAN: debian}
    for name in with_bases(names):
        image = IMAGES[name]
        found[name] = f"{PREFIX}/{name}:{content_tag(root, image.containerfile, found[image.base])}"
    return found


def content_tag(root: Path, containerfile: str, base: str) -> str:
    """Twelve hex digits over everything that goes into an image."""
    digest = hashlib.sha256(f"{base}\n".encode())
    for file in [containerfile, *files_copied(root, (root / containerfile).read_text())]:
        executable = (root / file).stat().st_mode & 0o111 != 0
        digest.update(f"{file}\0{executable}\0".encode())
        digest.update(hashlib.sha256((root / file).read_bytes()).digest())
    return digest.hexdigest()[:12]


def files_copied(root: Path, text: str) -> list[str]:
    """The files, relative to the root, that a Containerfile's COPY, ADD and bind mounts take from the build context."""
    found: set[str] = set()
    for source in _sources(text):
        matches = sorted(root.glob(source.strip("/").removeprefix("./"))) if source.strip("./") else [root]
        if not matches:
            raise ImageError(f"a Containerfile copies {source!r}, which does not exist")
        for match in matches:
            found.update(_files_below(root, match))
    return sorted(found)


def _sources(text: str) -> Iterator[str]:
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction.upper() == "RUN":
            for mount in re.findall(r"--mount=(\S+)", rest):
                options = dict(option.partition("=")[::2] for option in mount.split(","))
                if options.get("type") == "bind" and "from" not in options:
                    yield options.get("source") or options.get("src") or "."
        elif instruction.upper() in ("COPY", "ADD"):
            words = shlex.split(rest)
            flags = [word for word in words if word.startswith("--")]
            if any(flag.startswith("--from=") for flag in flags):
                continue
            if rest.lstrip().startswith("["):
                raise ImageError(f"the JSON form of {instruction} is not understood: {line.strip()}")
            yield from [word for word in words if not word.startswith("--")][:-1]


def _files_below(root: Path, path: Path) -> Iterator[str]:
    files = [path] if path.is_file() else (file for file in path.rglob("*") if file.is_file())
    for file in files:
        name = file.relative_to(root).as_posix()
        if not LEFT_OUT.search(name):
            yield name


def build(
    cluster: Cluster, names: Sequence[str] = RELEASED, say: Callable[[str], None] = print, root: Path = ROOT
) -> dict[str, str]:
    """Makes sure that the images are in the cluster's store; returns name -> reference, bases included."""
    found = references(names, cluster.base_image(), root)
    missing = [name for name in with_bases(names) if not cluster.has_image(found[name])]
    for name in missing:
        image = IMAGES[name]
        say(f"building {name}: {image.about}")
        began = time.monotonic()
        cluster.build_image(found[name], root / image.containerfile, root, build_args={"BASE": found[image.base]})
        say(f"built {found[name]} in {time.monotonic() - began:.0f} s")
    if not missing:
        say(f"all {len(with_bases(names))} images are there")
    return found


def helm_values(found: dict[str, str]) -> dict[str, object]:
    """The chart's values that name these images."""
    images = {}
    for name in RELEASED:
        if name in found:
            repository, _, tag = found[name].rpartition(":")
            images[name] = {"repository": repository, "tag": tag}
    return {"images": images}


def main() -> int:
    """The command; what a person can act on is printed without a traceback."""
    parser = argparse.ArgumentParser(description="Build Kaon's images into a local cluster.")
    parser.add_argument("--cluster", default="kaon", help="name of the local cluster (default: kaon)")
    parser.add_argument("--values", type=Path, help="write a file with the chart's values for these images")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(IMAGES)} (default: all)")
    options = parser.parse_args()
    try:
        found = build(Cluster(options.cluster), options.names or RELEASED)
    except (ImageError, LocalClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.values:
        # JSON is YAML, and needs no library.
        options.values.write_text(json.dumps(helm_values(found), indent=2) + "\n")
        print(f"wrote {options.values}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
