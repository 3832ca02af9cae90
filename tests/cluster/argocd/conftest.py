"""A real Argo CD against a real API server: its two controllers as processes, a Git repository, the operator.

No node: pods stay Pending, and stage_player.py does what they would do.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster import Cluster
from localcluster.tools import module_of, tool

ROOT = Path(__file__).parents[3]
ARGOCD = "argocd"
Object = dict[str, Any]

sys.path.insert(0, str(Path(__file__).parent))

from stage_player import Stages, until  # noqa: E402


class Kube:
    """kubectl as the cluster's admin."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        done = self.cluster.kubectl(*arguments, check=False, input=stdin, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def get(self, kind: str, name: str, namespace: str) -> Object:
        """An object; empty when there is none."""
        text = self("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else {}

    def list(self, kinds: str, namespace: str) -> list[Object]:
        """Objects of some kinds."""
        items: list[Object] = json.loads(self("get", kinds, "-n", namespace, "-o", "json"))["items"]
        return items

    def apply(self, *objects: Object) -> None:
        """Server-side apply: Argo CD's own CRDs are too large for the other one."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def patch_status(self, kind: str, name: str, namespace: str, status: Object) -> None:
        """Merge into an object's status."""
        body = json.dumps({"status": status})
        self("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", body)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane without anything of Kaon."""
    made = Cluster(f"argo-{os.getpid()}", control_plane_only=True, say=lambda line: None)
    made.up()
    yield made
    made.down()


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Kube:
    return Kube(cluster)


class Repository:
    """A Git repository with the chart and the examples, as Argo CD reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "charts" / "kaon", folder / "charts" / "kaon")
        shutil.copytree(ROOT / "examples" / "r8", folder / "examples" / "r8")
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit("first")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def edit(self, name: str, change: Callable[[Object], None]) -> None:
        """Change one manifest of the example and commit."""
        file = self.folder / "examples" / "r8" / name
        manifest = yaml.safe_load(file.read_text())
        change(manifest)
        file.write_text(yaml.safe_dump(manifest))
        self.commit(f"change {name}")

    def remove(self, name: str) -> None:
        """Delete one manifest of the example and commit."""
        (self.folder / "examples" / "r8" / name).unlink()
        self.commit(f"remove {name}")

    def commit(self, message: str) -> None:
        self._git("add", "--all")
        self._git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", message)

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "repository"
    folder.mkdir()
    return Repository(folder)


class Argo:
    """The running Argo CD and its Applications."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def create(self, name: str, source: Object, namespace: str, options: list[str]) -> None:
        """An Application that syncs, prunes and heals by itself."""
        spec = {
            "project": "default",
            "source": {"targetRevision": "main", **source},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true", "SkipDryRunOnMissingResource=true", *options],
                "retry": {"limit": 10, "backoff": {"duration": "2s", "maxDuration": "10s"}},
            },
        }
        metadata = {
            "name": name,
            "namespace": ARGOCD,
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        }
        self._kube.apply(
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec}
        )

    def refresh(self, name: str) -> None:
        """Look at Git now."""
        self._kube(*("annotate", "application", name, "-n", ARGOCD, "--overwrite", "argocd.argoproj.io/refresh=normal"))

    def status(self, name: str) -> Object:
        status: Object = self._kube.get("application", name, ARGOCD).get("status", {})
        return status

    def sync(self, name: str) -> str:
        """Synced, OutOfSync or Unknown; "" before the first look."""
        return str(self.status(name).get("sync", {}).get("status", ""))

    def health(self, name: str, kind: str) -> str:
        """The health of one resource of an Application."""
        for resource in self.status(name).get("resources", ()):
            if resource["kind"] == kind:
                return str(resource.get("health", {}).get("status", ""))
        return ""

    def delete(self, name: str) -> None:
        """Delete the Application with everything that it made."""
        self._kube("delete", "application", name, "-n", ARGOCD, "--timeout=90s")


class Processes:
    """Programs that run until the end of the session, each with its log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: list[Any], env: dict[str, str]) -> None:
        log = (self._folder / f"{name}.log").open("wb")
        process = subprocess.Popen([str(part) for part in command], env=env, stdout=log, stderr=log)
        self._running.append(process)

    def tails(self) -> str:
        """The end of each log, for a failure's message."""
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in self._folder.glob("*.log"))

    def stop(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def argo(cluster: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Argo]:
    """Argo CD as its own processes, with the health script of examples/argocd."""
    redis = shutil.which("redis-server")
    if not redis:
        pytest.fail("redis-server is missing, which Argo CD needs: apt-get install redis-server")
    home = tmp_path_factory.mktemp("argocd")
    programs = {name: tool(name, lambda line: None) for name in ("argocd-repo-server", "argocd-application-controller")}
    _install(kube)
    ports = _free_ports(5)
    env = _environment(cluster, home)
    processes = Processes(home)
    processes.start("redis", [redis, "--port", ports[0], "--save", "", "--requirepass", env["REDIS_PASSWORD"]], env)
    server = f"127.0.0.1:{ports[1]}"
    processes.start(
        "repo-server",
        [
            *(programs["argocd-repo-server"], "--address", "127.0.0.1", "--port", ports[1], "--disable-tls"),
            *("--metrics-address", "127.0.0.1", "--metrics-port", ports[2], "--redis", f"127.0.0.1:{ports[0]}"),
        ],
        env,
    )
    processes.start(
        "application-controller",
        [
            *(programs["argocd-application-controller"], "--kubeconfig", env["KUBECONFIG"], "-n", ARGOCD),
            *("--redis", f"127.0.0.1:{ports[0]}", "--repo-server", server, "--repo-server-plaintext"),
            *("--metrics-port", ports[3]),
        ],
        env,
    )
    yield Argo(kube)
    processes.stop()


def _free_ports(count: int) -> list[int]:
    from localcluster.addresses import free_ports

    return free_ports(count, ())


def _install(kube: Kube) -> None:
    """Argo CD's CRDs from its own sources, and its configuration."""
    module = module_of("argocd-repo-server")
    command = ["go", "list", "-m", "-f", "{{.Dir}}", module.version_of]
    sources = subprocess.run(command, cwd=module.folder, check=True, capture_output=True, text=True).stdout.strip()
    kube("create", "namespace", ARGOCD)
    for name in ("application", "appproject"):
        kube("apply", "--server-side", "-f", f"{sources}/manifests/crds/{name}-crd.yaml")
    kube.cluster.wait_for_crds()
    kube("apply", "--server-side", "-f", str(ROOT / "examples" / "argocd" / "argocd-cm.yaml"))
    labels = {"app.kubernetes.io/part-of": "argocd"}
    secret = {"name": "argocd-secret", "namespace": ARGOCD, "labels": labels}
    project = {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}]}
    project["clusterResourceWhitelist"] = [{"group": "*", "kind": "*"}]
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": secret,
            "stringData": {"server.secretkey": "x"},
        },
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "default", "namespace": ARGOCD},
            "spec": project,
        },
    )


def _environment(cluster: Cluster, home: Path) -> dict[str, str]:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = ARGOCD
    kubeconfig = home / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    folders = {
        f"ARGOCD_{name}": str(home / name.lower())
        for name in ("GNUPGHOME", "GPG_DATA_PATH", "TLS_DATA_PATH", "SSH_DATA_PATH", "APP_CONF_PATH")
    }
    folders |= {f"HELM_{name}_HOME": str(home / f"helm-{name.lower()}") for name in ("CACHE", "CONFIG", "DATA")}
    folders |= {
        "HOME": str(home / "home"),
        "TMPDIR": str(home / "tmp"),
        "ARGOCD_PLUGINSOCKFILEPATH": str(home / "plugins"),
    }
    for folder in folders.values():
        Path(folder).mkdir()
    helm = tool("helm", lambda line: None)
    return {
        **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        **folders,
        "PATH": f"{helm.parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(kubeconfig),
        "REDIS_PASSWORD": "for-tests-only",
        "ARGOCD_ASK_PASS_SOCK": str(home / "ask"),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        # Health of each resource in the Application's status, where the tests read it.
        "ARGOCD_APPLICATION_CONTROLLER_PERSIST_RESOURCE_HEALTH": "true",
        "ARGOCD_RECONCILIATION_TIMEOUT": "10s",
        "ARGOCD_RECONCILIATION_JITTER": "0s",
        "ARGOCD_APPLICATION_CONTROLLER_SELF_HEAL_TIMEOUT_SECONDS": "1",
        "ARGOCD_APPLICATION_CONTROLLER_SELF_HEAL_BACKOFF_TIMEOUT_SECONDS": "0",
    }


@pytest.fixture
def operator(cluster: Cluster, kube: Kube, tmp_path: Path) -> Iterator[None]:
    """The real operator, as a process, once the CRDs are there."""
    log = (tmp_path / "operator.log").open("wb")
    flags = ["--no-leader-elect", "--metrics-port=0", "--health-port=0", "--storage-uri=s3://kaon/artifacts"]
    deadline = time.monotonic() + 60
    while "reports.kaon.dev" not in kube("get", "crd", "-o", "name"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    cluster.wait_for_crds()
    process = subprocess.Popen(
        [sys.executable, "-m", "kaon.engine.main", *flags],
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        stdout=log,
        stderr=log,
    )
    yield
    process.terminate()
    process.wait(20)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    return until


@pytest.fixture
def stages(kube: Kube) -> Callable[[str], Stages]:
    """stages(namespace)"""
    return lambda namespace: Stages(kube, namespace)
