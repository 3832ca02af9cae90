"""Fixtures of the cluster tests: a real API server without a node, a fresh namespace, the operator as a process.

`api_cluster` brings up etcd, kube-apiserver and kube-controller-manager once a session and installs crds/. Pods stay
Pending there: a test that needs a finished Job writes its status itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "hack/localcluster"))

from localcluster import Cluster  # noqa: E402

Object = dict[str, Any]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Kubectl:
    """kubectl, bound to one cluster and one set of credentials."""

    def __init__(self, binary: Path, kubeconfig: Path) -> None:
        self.binary = binary
        self.kubeconfig = kubeconfig

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl printed; with `check` off also when it failed, its complaints included."""
        command = [str(self.binary), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def apply(self, *objects: Object, check: bool = True) -> str:
        """Apply objects as a user does."""
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return self("apply", "-f", "-", stdin=json.dumps(manifest), check=check)

    def get(self, kind: str, name: str, namespace: str) -> Object | None:
        """An object, or None."""
        text = self("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """The objects of a kind in a namespace."""
        chosen = ("-l", selector) if selector else ()
        items: list[Object] = json.loads(self("get", kind, "-n", namespace, "-o", "json", *chosen))["items"]
        return items

    def patch_status(self, kind: str, name: str, namespace: str, status: Object) -> None:
        """Write an object's status, as its own controller or a pod would."""
        patch = json.dumps({"status": status})
        self("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)


def eventually(look: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first truthy thing that `look` returns."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; last seen: {found!r}"
        time.sleep(0.1)


class OperatorProcess:
    """A running `kaon-operator` (or a program like it), with its log and ports."""

    def __init__(self, kubeconfig: Path, arguments: list[str], program: list[str], env: dict[str, str]) -> None:
        self.health_port, self.metrics_port = free_port(), free_port()
        self._log = tempfile.NamedTemporaryFile(prefix="kaon-operator-", suffix=".log")  # noqa: SIM115
        ports = ["--health-port", str(self.health_port), "--metrics-port", str(self.metrics_port)]
        self.process = subprocess.Popen(
            [sys.executable, *program, *ports, *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), **env},
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def log(self) -> str:
        """Everything it logged."""
        return Path(self._log.name).read_text()

    def probe(self, path: str) -> tuple[int, str]:
        """The status and text of /healthz or /readyz; 0 when nobody listens."""
        return self._fetch(f"http://127.0.0.1:{self.health_port}{path}")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self._fetch(f"http://127.0.0.1:{self.metrics_port}/metrics")[1].splitlines():
            found = line.split("{")[0].split(" ")[0]
            if found == name and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def wait_ready(self, seconds: float = 20.0) -> OperatorProcess:
        """Wait until it is ready, or fail with its log."""
        deadline = time.monotonic() + seconds
        while self.probe("/readyz")[0] != 200:
            assert self.process.poll() is None, f"exited with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"not ready: {self.probe('/readyz')}\n{self.log}"
            time.sleep(0.1)
        return self

    def wait_leading(self, seconds: float = 30.0) -> OperatorProcess:
        """Wait until it is the leader."""
        eventually(lambda: self.metric("kaon_leader") == 1, "leading", seconds)
        return self

    def wait_exit(self, seconds: float = 20.0) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it, gently first."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()

    @staticmethod
    def _fetch(url: str) -> tuple[int, str]:
        try:
            with _OPENER.open(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


StartOperator = Callable[..., OperatorProcess]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[Cluster]:
    """A control plane without Kaon's CRDs."""
    cluster = Cluster(f"bare-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def api_cluster() -> Iterator[Cluster]:
    """A control plane with Kaon's CRDs."""
    cluster = Cluster(f"api-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    cluster.up()
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"), capture_output=True)
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s", capture_output=True)
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def kubectl(api_cluster: Cluster) -> Kubectl:
    """kubectl as the cluster's admin."""
    return Kubectl(api_cluster.tool("kubectl"), api_cluster.kubeconfig)


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A fresh namespace, deleted afterwards without waiting."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def start_operator(api_cluster: Cluster, namespace: str) -> Iterator[StartOperator]:
    """Starts operators, and stops them in the end.

    start_operator(*flags, program=["-m", "kaon.engine.main"], kubeconfig=…, ready=True, **environment). Each has a
    Lease of its own test namespace, so that tests do not wait for each other's leaders.
    """
    started: list[OperatorProcess] = []

    def start(
        *flags: str,
        program: list[str] | None = None,
        kubeconfig: Path | None = None,
        ready: bool = True,
        **environment: str,
    ) -> OperatorProcess:
        operator = OperatorProcess(
            kubeconfig or api_cluster.kubeconfig,
            ["--lease-namespace", namespace, *flags],
            program or ["-m", "kaon.engine.main"],
            environment,
        )
        started.append(operator)
        return operator.wait_ready() if ready else operator

    yield start
    for operator in started:
        operator.stop()


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """eventually(look, what, seconds=20): the first truthy thing that `look` returns."""
    return eventually
