"""The steps of the demo, each a function that can be repeated: what is done already is found and left alone.

The end-to-end tests are made of the same steps. Everything goes through kubectl and Helm, as a user would; the only
other connection is a port-forward to the embedded store for the upload.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]

import images as kaon_images  # noqa: E402

from localcluster import Cluster  # noqa: E402

Say = Callable[[str], None]
RELEASE = "kaon"
OPERATOR = "kaon-operator"
SYSTEM_NAMESPACE = "kaon-system"
STORE_SERVICE = STORE_SECRET = "kaon-store"
ROOT_SECRET = "kaon-store-root"
STORE_PORT = 7070
BUCKET = "kaon"
EXAMPLE_NAMESPACE = "team-a"
"""The namespace whose folder of the store the examples read from."""


class StepError(Exception):
    """A step failed: the cause, and in `look` the commands that show more."""

    def __init__(self, message: str, look: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.look = list(look)


def bring_up(name: str, say: Say, *, audit: bool = False) -> Cluster:
    """A running full cluster; `audit` keeps a log of what service accounts ask for."""
    cluster = Cluster(name, audit=audit, say=say)
    cluster.up()
    return cluster


def build_images(cluster: Cluster, say: Say, names: Sequence[str] = kaon_images.RELEASED) -> dict[str, str]:
    """Image name -> reference, all of them in the node's store."""
    return kaon_images.build(cluster, names, say)


def make_namespaces(cluster: Cluster, *names: str) -> None:
    """Namespaces in which only pods that pass Pod Security "restricted" are let in."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    for name in names:
        metadata = {"name": name, "labels": labels}
        apply_object(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def apply_object(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    """kubectl apply of one object."""
    kubectl(cluster, "apply", "--server-side", "--filename", "-", stdin=json.dumps(manifest))


def install(
    cluster: Cluster,
    found: Mapping[str, str],
    namespaces: Sequence[str],
    values: Mapping[str, Any] | None = None,
    release_namespace: str = SYSTEM_NAMESPACE,
) -> None:
    """Installs or upgrades the chart with these images and the embedded store for these namespaces, and waits."""
    make_namespaces(cluster, release_namespace, *namespaces)
    chosen: dict[str, Any] = {**kaon_images.helm_values(dict(found))}
    chosen["store"] = {"enabled": True, "namespaces": list(namespaces), "bucket": BUCKET}
    command = ["upgrade", "--install", RELEASE, str(ROOT / "charts" / "kaon"), "--namespace", release_namespace]
    command += ["--wait", "--timeout", "5m", "--values", "-"]
    # Two layers of values: Helm merges them as it does for everybody.
    if values:
        command += [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]
    done = subprocess.run(
        [str(cluster.tool("helm")), *command],
        env=cluster.env, input=json.dumps(chosen), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        look = [f"kubectl -n {release_namespace} {what}" for what in ("get pods,events", f"logs deploy/{OPERATOR}")]
        raise StepError(f"helm {command[0]} failed:\n{done.stderr.strip()[-3000:]}", look)
    for namespace in namespaces:
        wait_for_secret(cluster, namespace)


def wait_for_secret(cluster: Cluster, namespace: str, seconds: float = 60) -> None:
    """Waits until the store has written its credentials into a namespace."""
    deadline = time.monotonic() + seconds
    while not kubectl(cluster, "-n", namespace, "get", "secret", STORE_SECRET, "--ignore-not-found", "-o", "name"):
        if time.monotonic() > deadline:
            look = [f"kubectl -n {SYSTEM_NAMESPACE} logs deploy/{STORE_SERVICE} --all-containers"]
            raise StepError(f"the store wrote no Secret {STORE_SECRET} into {namespace} in {seconds:.0f} s", look)
        time.sleep(0.5)


def upload(
    cluster: Cluster, namespace: str, files: Mapping[str, Path], release_namespace: str = SYSTEM_NAMESPACE
) -> tuple[int, int]:
    """Puts files into a namespace's folder of the embedded store; (uploaded, already there with the same bytes).

    The credentials are read from the namespace's Secret and go nowhere else.
    """
    with store_client(cluster, namespace, release_namespace) as store:
        keys = {f"{namespace}/{name}": file for name, file in files.items()}
        new = [key for key, file in keys.items() if not _same(store, key, file)]
        for key in new:
            store.put(key, keys[key])
    return len(new), len(files) - len(new)


@contextmanager
def store_client(cluster: Cluster, namespace: str | None, release_namespace: str = SYSTEM_NAMESPACE) -> Iterator[Any]:
    """The embedded store's bucket, through a port-forward, with the credentials of a namespace; None: the root's."""
    from obstore.store import S3Store

    # The Secrets are there before the store listens, and a port-forward to a port where nobody listens ends.
    kubectl(cluster, "-n", release_namespace, "rollout", "status", f"deployment/{STORE_SERVICE}", "--timeout=180s")
    where = (namespace, STORE_SECRET) if namespace else (release_namespace, ROOT_SECRET)
    secret = json.loads(kubectl(cluster, "-n", where[0], "get", "secret", where[1], "-o", "json"))
    options = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if namespace else ("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY")
    with port_forward(cluster, release_namespace, f"service/{STORE_SERVICE}", STORE_PORT) as port:
        yield S3Store(
            BUCKET,
            endpoint=f"https://127.0.0.1:{port}",
            access_key_id=options[names[0]],
            secret_access_key=options[names[1]],
            region=options.get("AWS_REGION", "us-east-1"),
            client_options={"root_certificate": options["ca.crt"], "timeout": "300s"},
        )


@contextmanager
def port_forward(cluster: Cluster, namespace: str, target: str, port: int) -> Iterator[int]:
    """A local port that leads to a port of a Service or pod, through the API server.

    kubectl ends as soon as the pod resets one connection, so it is started again on the same local port.
    """
    command = [str(cluster.tool("kubectl")), "-n", namespace, "port-forward", target]

    def start(ports: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, ports], env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )

    process = start(f":{port}")
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"127\.0\.0\.1:(\d+)", line)
    if not match:
        process.kill()
        raise StepError(f"kubectl port-forward {target}: {line.strip() or 'no answer'}")
    ending = threading.Event()

    def follow() -> None:
        nonlocal process
        while not ending.is_set():
            assert process.stdout is not None
            for _ in process.stdout:
                pass
            if not ending.wait(0.1):
                process = start(f"{match[1]}:{port}")

    follower = threading.Thread(target=follow, name="port-forward")
    follower.start()
    try:
        yield int(match[1])
    finally:
        ending.set()
        process.terminate()
        follower.join(timeout=10)


def apply(cluster: Cluster, namespace: str, path: Path) -> list[str]:
    """kubectl apply of an example; the names of what it holds."""
    said = kubectl(
        cluster,
        "apply",
        "--namespace",
        namespace,
        "--filename",
        "-",
        "--output",
        "name",
        stdin=example(path, namespace),
    )
    return said.split()


def example(folder: Path, namespace: str) -> str:
    """The manifests of an example, reading from the folder of this namespace."""
    texts = (file.read_text() for file in sorted(folder.glob("*.yaml")))
    return "---\n".join(texts).replace(f"s3://{BUCKET}/{EXAMPLE_NAMESPACE}/", f"s3://{BUCKET}/{namespace}/")


def watch(cluster: Cluster, namespace: str, expected: int, timeout: float, console: Any = None) -> int:
    """`kaon watch --until-ready` on a namespace; its exit code."""
    from rich.console import Console

    from kaon.cli.cluster import connect
    from kaon.cli.watch import watch as watch_pipeline

    connection = connect(str(cluster.kubeconfig))
    return watch_pipeline(
        connection, namespace, console or Console(), until_ready=True, timeout=timeout, expected=expected
    )


def kubectl(cluster: Cluster, *arguments: str, stdin: str | None = None) -> str:
    """The output of kubectl; what it says when it fails becomes the error."""
    done = cluster.kubectl(*arguments, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepError(f"kubectl {' '.join(arguments[:4])}: {done.stderr.strip()[-2000:]}")
    return str(done.stdout)


def _same(store: Any, key: str, file: Path) -> bool:
    """Whether the store holds these very bytes: by size first, then by reading them, which is quick so near."""
    try:
        if store.head(key)["size"] != file.stat().st_size:
            return False
    except FileNotFoundError:
        return False
    digest = hashlib.sha256()
    for chunk in store.get(key):
        digest.update(chunk)
    return digest.hexdigest() == hashlib.sha256(file.read_bytes()).hexdigest()
