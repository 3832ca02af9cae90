"""Images of a full cluster: the sandbox image, the Debian base, and builds by BuildKit into the node's own store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from localcluster import paths
from localcluster.errors import LocalClusterError
from localcluster.paths import Layout
from localcluster.tools import locked

BASE_IMAGE = "localhost/debian-python:bookworm"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
# Predefined by BuildKit: handed to the steps, never kept in the image.
PROXY_VARIABLES = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]
# Where a host says which certificate authorities it trusts, in the order of how explicit that is.
CA_VARIABLES = ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]


def answers(layout: Layout, name: str) -> bool:
    """Does the daemon accept connections?"""
    path = layout.containerd_socket if name == "containerd" else layout.buildkit_socket
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def ctr(layout: Layout, *arguments: str) -> str:
    """containerd's own client, in the namespace that the kubelet uses."""
    command = ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LocalClusterError(f"ctr {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def names(layout: Layout) -> list[str]:
    return ctr(layout, "images", "ls", "-q").split()


def digests(layout: Layout) -> dict[str, str]:
    """Name of each image -> its digest. The kubelet's side of containerd gives each image a name by its id, too."""
    lines = [line.split() for line in ctr(layout, "images", "ls").splitlines()[1:]]
    return {line[0]: next(word for word in line[1:] if word.startswith("sha256:")) for line in lines if line}


def unused(present: Mapping[str, str], used: Collection[str]) -> list[str]:
    """The local images that may go, by all their names: an id that stays would keep the image's content."""
    gone = [name for name in present if name.startswith("localhost/") and name not in used]
    kept = {digest for name, digest in present.items() if name not in gone and not name.startswith("sha256:")}
    return gone + [name for name, digest in present.items() if name.startswith("sha256:") and digest not in kept]


def prune(layout: Layout, buildctl: Path, used: Collection[str]) -> list[str]:
    """Removes images nobody uses and build cache nobody has used for two days; says which images went."""
    gone = unused(digests(layout), used)
    for name in gone:
        ctr(layout, "images", "rm", name)
    command = [str(buildctl), "--addr", f"unix://{layout.buildkit_socket}", "prune", "--keep-duration", "48h"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LocalClusterError(f"buildctl prune failed: {result.stderr.strip()}")
    return [name for name in gone if name.startswith("localhost/")]


def forget_containers(layout: Layout) -> bool:
    """Drops what the store remembers of a former cluster's containers; its images stay. Were there any?"""
    containers = ctr(layout, "containers", "ls", "-q").split()
    for container in containers:
        ctr(layout, "containers", "rm", container)
    return bool(containers)


def archive(layer: Path, tag: str, config: Mapping[str, object], output: Path) -> None:
    """An image of one layer as an OCI archive that containerd imports."""
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        root = Path(temporary)
        blobs = root / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def add(file: Path) -> tuple[str, int]:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            size = file.stat().st_size
            file.rename(blobs / digest)
            return f"sha256:{digest}", size

        def add_json(document: object) -> dict[str, object]:
            (root / "new").write_text(json.dumps(document))
            digest, size = add(root / "new")
            return {"digest": digest, "size": size}

        moved = root / "layer"
        shutil.move(layer, moved)
        layer_digest, layer_size = add(moved)
        kind = "application/vnd.oci.image"
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        described = {"architecture": machine, "os": "linux", "config": config}
        rootfs = {"type": "layers", "diff_ids": [layer_digest]}
        config_blob = {"mediaType": f"{kind}.config.v1+json", **add_json({**described, "rootfs": rootfs})}
        layer_blob = {"mediaType": f"{kind}.layer.v1.tar", "digest": layer_digest, "size": layer_size}
        manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": config_blob}
        manifest_blob = {"mediaType": f"{kind}.manifest.v1+json", **add_json({**manifest, "layers": [layer_blob]})}
        index = {"schemaVersion": 2, "manifests": [{**manifest_blob, "annotations": {"io.containerd.image.name": tag}}]}
        (root / "index.json").write_text(json.dumps(index))
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        with tarfile.open(root / "image.tar", "w") as image:
            for part in ("oci-layout", "index.json", "blobs"):
                image.add(root / part, arcname=part)
        (root / "image.tar").rename(output)


def pause(layout: Layout, program: Path, tag: str) -> None:
    """The sandbox image: one static program and nothing else."""
    if tag in names(layout):
        return
    with tempfile.TemporaryDirectory(dir=layout.state) as temporary:
        layer, image = Path(temporary) / "layer.tar", Path(temporary) / "image.tar"
        with tarfile.open(layer, "w") as tar:
            tar.add(program, arcname="pause")
        archive(layer, tag, {"Entrypoint": ["/pause"]}, image)
        ctr(layout, "images", "import", str(image))


def base(layout: Layout, say: Callable[[str], None]) -> str:
    """A minimal Debian with Python, made by debootstrap once and kept in the cache for every cluster."""
    if BASE_IMAGE in names(layout):
        return BASE_IMAGE
    image = paths.cache_root() / "images" / "debian-python-bookworm.tar"
    with locked(image.with_suffix(".lock")):
        if not image.exists():
            say("making the Debian base image (about a minute)")
            _debootstrap(image)
    say(f"importing {BASE_IMAGE}")
    ctr(layout, "images", "import", str(image))
    return BASE_IMAGE


def _debootstrap(image: Path) -> None:
    # Without one, debootstrap takes its own default.
    mirror = [os.environ["KAON_DEBIAN_MIRROR"]] if os.environ.get("KAON_DEBIAN_MIRROR") else []
    with tempfile.TemporaryDirectory(dir=image.parent) as temporary:
        root, layer = Path(temporary) / "root", Path(temporary) / "layer.tar"
        for command in (
            ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(root), *mirror],
            ["sh", "-c", f"rm -rf '{root}'/var/cache/apt/archives/*.deb '{root}'/var/lib/apt/lists/* '{root}'/dev/*"],
            ["tar", "--create", "--numeric-owner", "--xattrs", "--directory", str(root), "--file", str(layer), "."],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise LocalClusterError(f"{command[0]} failed:\n{(result.stdout + result.stderr)[-2000:]}")
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        archive(layer, BASE_IMAGE, {"Env": [f"PATH={path}"], "Cmd": ["python3"]}, image)


def ca_bundle(env: Mapping[str, str]) -> str:
    """The certificate authorities this host was told to trust; empty when it was told nothing."""
    return next((env[name] for name in CA_VARIABLES if env.get(name) and Path(env[name]).is_file()), "")


def build_command(
    buildctl: Path,
    socket_path: Path,
    tag: str,
    file: Path,
    context: Path,
    build_args: Mapping[str, str],
    secrets: Sequence[str],
    target: str,
    env: Mapping[str, str],
) -> list[str]:
    """The buildctl call. Uncompressed: gzip of a torch layer takes four minutes and nobody pulls it over a wire."""
    command = [str(buildctl), "--addr", f"unix://{socket_path}", "build", "--progress", "plain"]
    command += ["--frontend", "dockerfile.v0", "--local", f"context={context}", "--local", f"dockerfile={file.parent}"]
    command += ["--opt", f"filename={file.name}"]
    command += ["--opt", f"target={target}"] if target else []
    arguments = {name: env[name] for name in PROXY_VARIABLES if env.get(name)} | dict(build_args)
    for name, value in arguments.items():
        command += ["--opt", f"build-arg:{name}={value}"]
    given = list(secrets)
    # A secret is seen by the steps that mount it and never stored in a layer.
    if ca_bundle(env) and not any(secret.startswith("id=ca,") for secret in given):
        given.append(f"id=ca,src={ca_bundle(env)}")
    for secret in given:
        command += ["--secret", secret]
    return [*command, "--output", f"type=image,name={tag},unpack=true,compression=uncompressed"]


def build(
    layout: Layout,
    buildctl: Path,
    tag: str,
    file: Path,
    context: Path,
    build_args: Mapping[str, str],
    secrets: Sequence[str],
    target: str,
    quiet: bool,
) -> None:
    """Builds into the node's store. Quiet: what BuildKit says is shown only when the build fails."""
    command = build_command(buildctl, layout.buildkit_socket, tag, file.absolute(), context.absolute(), build_args,
                            secrets, target, os.environ)  # fmt: skip
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {"stdout": sys.stderr}
    result = subprocess.run(command, text=True, check=False, **output)
    if result.returncode:
        raise LocalClusterError(f"building {tag} failed" + (f":\n{result.stdout[-6000:]}" if quiet else ""))
