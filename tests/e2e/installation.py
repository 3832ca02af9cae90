"""Kaon installed on a real node for the end-to-end tests, by the same steps as the demo, and what tests do to it."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import os
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tinymodel
from demo import data, steps
from kube import Kube, Object, listed, run

from localcluster import Cluster, paths

ROOT = Path(__file__).parents[2]
SYSTEM = "kaon-e2e-system"
NAMESPACES = (
    "e2e-pipeline",
    "e2e-failures",
    "e2e-survival",
    "e2e-monitoring",
    "e2e-restore",
    "e2e-r8",
    "e2e-images",
    "e2e-recommendation",
    "e2e-sentiment",
    "e2e-tables",
)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def say(line: str) -> None:
    """Progress that shows with `pytest -s`, and in the output of a failure."""
    print(line, flush=True)


@dataclass
class Installation:
    """The chart on a cluster, with the embedded store."""

    cluster: Cluster
    images: dict[str, str]
    kube: Kube = field(init=False)
    root: Path = ROOT

    def __post_init__(self) -> None:
        self.kube = Kube(self.cluster.tool("kubectl"), self.cluster.kubeconfig)

    # -- install --------------------------------------------------------------------------------------------------

    def install(self, images: Mapping[str, str] | None = None, *, monitoring: bool = False) -> None:
        """helm upgrade --install, waiting until the operator is ready."""
        # The kubelet of the local cluster brings a changed ConfigMap within 10 s; the default allows for 60.
        values: Object = {"operator.extraArgs": ["--retire-after-seconds=15"]}
        if monitoring:
            values |= {"metrics.serviceMonitor.enabled": True, "metrics.rules.enabled": True}
        steps.install(self.cluster, images or self.images, NAMESPACES, values, release_namespace=SYSTEM)

    def helm(self, *arguments: str) -> str:
        """helm, in the namespace of the installation."""
        command = [str(self.cluster.tool("helm")), "--kubeconfig", str(self.cluster.kubeconfig), "-n", SYSTEM]
        return run([*command, *arguments])

    def remove(self) -> None:
        """Takes away what an earlier run left: namespaces with all in them, and the definitions of the kinds."""
        self.kube("delete", "namespace", *NAMESPACES, SYSTEM, "--ignore-not-found", timeout=300)
        found = self.kube("get", "crd", "-o", "name").split()
        ours = [name for name in found if name.endswith((".kaon.dev", ".monitoring.coreos.com"))]
        if ours:
            self.kube("delete", *ours)
        cluster_wide = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
        self.kube("delete", cluster_wide, "-l", f"app.kubernetes.io/instance={steps.RELEASE}", check=False)

    @contextlib.contextmanager
    def with_images(self, **images: str) -> Iterator[None]:
        """Other images for a while."""
        self.install({**self.images, **images})
        try:
            yield
        finally:
            self.install()

    @contextlib.contextmanager
    def retagged_operator(self) -> Iterator[None]:
        """The same operator and stages under other tags, as an upgrade brings them."""
        renamed = {}
        with tempfile.TemporaryDirectory() as folder:
            for name in ("operator", "jobs"):
                repository = self.images[name].rpartition(":")[0]
                renamed[name] = f"{repository}:upgraded-{os.getpid()}"
                file = Path(folder) / "Containerfile"
                file.write_text(f"FROM {self.images[name]}\n")
                self.cluster.build_image(renamed[name], file, folder)
        with self.with_images(**renamed):
            yield

    def operator_pods(self) -> list[Object]:
        """The operator's pods that are not on their way out."""
        pods = self.kube.list("pods", SYSTEM, "app.kubernetes.io/component=operator")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def kill_operator(self) -> None:
        """SIGKILL for the operator's process; then its pod goes, so that no restart back-off delays the next one."""
        for pod in self.operator_pods():
            for process in self._processes(pod):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            name = pod["metadata"]["name"]
            self.kube("delete", "pod", name, "-n", SYSTEM, "--grace-period=0", "--force", check=False)

    @staticmethod
    def _processes(pod: Object) -> list[int]:
        """The host's process ids of a pod's kaon-operator: those whose cgroup names the pod."""
        uid = pod["metadata"]["uid"]
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and uid in (folder / "cgroup").read_text().replace("_", "-"):
                    command = (folder / "cmdline").read_bytes()
                    if b"kaon" in command:
                        found.append(int(folder.name))
        return found

    # -- the store --------------------------------------------------------------------------------------------------

    def upload(self, files: Mapping[str, Path], *namespaces: str) -> None:
        """Puts files into the folder of each namespace, with its own key."""
        for namespace in namespaces:
            steps.upload(self.cluster, namespace, files, SYSTEM)

    def upload_tiny(self) -> None:
        """The tiny model and its data."""
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            tinymodel.write_model(here / "model")
            tinymodel.write_data(here / "data")
            with (here / "data/empty.csv").open("w") as empty:
                csv.writer(empty).writerow(["text", "label"])
            files = {f"models/tiny/{path.name}": path for path in (here / "model").iterdir()}
            self.upload(files | {f"raw/tiny/{path.name}": path for path in (here / "data").iterdir()}, *NAMESPACES)

    def upload_r8(self, namespace: str) -> None:
        """Reuters R8 and MiniLM-L6."""
        self.upload(data.fetch(paths.cache_root()).uploads(), namespace)

    def example_tables(self) -> dict[str, Path]:
        """The files that the examples with tables read, by their place in the namespace's folder."""
        return data.fetch(paths.cache_root()).tables()

    def upload_reviews(self, namespace: str) -> None:
        """Film reviews."""
        self.upload(data.fetch(paths.cache_root()).reviews_uploads(), namespace)

    def example_interactions(self) -> dict[str, Path]:
        """The same of the example with interactions."""
        return data.fetch(paths.cache_root()).interactions()

    def read(self, uri: str) -> bytes:
        """An object of the bucket, read with the root's key."""
        with steps.store_client(self.cluster, None, SYSTEM) as store:
            return bytes(store.get(_key(uri)).bytes())

    def file_uri(self, artifact_uri: str, name: str) -> str:
        """Where a file of an artifact lies."""
        manifest = json.loads(self.read(f"{artifact_uri}/kaon.json"))
        return f"{artifact_uri}/{manifest['attempt']}/{name}"

    def flip_byte(self, artifact_uri: str, name: str) -> None:
        """Changes one byte in the middle of a file of an artifact."""
        uri = self.file_uri(artifact_uri, name)
        content = bytearray(self.read(uri))
        content[len(content) // 2] ^= 0xFF
        with steps.store_client(self.cluster, None, SYSTEM) as store:
            store.put(_key(uri), bytes(content))

    def table(self, artifact_uri: str, name: str) -> list[Object]:
        """The rows of a parquet file of an artifact."""
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            file.write(self.read(self.file_uri(artifact_uri, name)))
            file.flush()
            rows: list[Object] = pq.read_table(file.name).to_pylist()
            return rows

    def predictions(self, model_uri: str, dataset: Object, count: int) -> list[Object]:
        """The first test texts with the label that the evaluation predicted."""
        classes = dataset["status"]["classes"]
        texts = {row["row_id"]: row["text"] for row in self.table(dataset["status"]["artifact"]["uri"], "test.parquet")}
        predicted = self.table(model_uri, "predictions-test.parquet")[:count]
        return [{"text": texts[row["row_id"]], "label": classes[row["predicted_id"]]} for row in predicted]

    def evaluated(self, model_uri: str, dataset: Object, count: int) -> tuple[list[Object], list[str] | list[float]]:
        """The first test rows of a table, column by column, with what the evaluation predicted for each."""
        there = {row["row_id"]: row["features"] for row in self.table(dataset["artifact"]["uri"], "test.parquet")}
        found = self.table(model_uri, "predictions-test.parquet")[:count]
        rows = [there[row["row_id"]] for row in found]
        if "prediction" in found[0]:
            return rows, [row["prediction"] for row in found]
        return rows, [dataset["classes"][row["predicted_id"]] for row in found]

    def wrong_key_secret(self, name: str, namespace: str) -> None:
        """A Secret like the store's, with a key that the store does not know."""
        good = self.kube.get("secret", steps.STORE_SECRET, namespace)
        assert good is not None
        wrong = base64.b64encode(b"not the key").decode()
        content = {**good["data"], "AWS_SECRET_ACCESS_KEY": wrong}
        self.kube.apply(
            [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": content}], namespace=namespace
        )

    # -- the model --------------------------------------------------------------------------------------------------

    def address(self, service: str, namespace: str) -> str:
        """The cluster address of a Service, which the host can reach."""
        found = self.kube.get("service", service, namespace)
        assert found is not None, f"no Service {service}"
        return str(found["spec"]["clusterIP"])

    def ask(self, name: str, namespace: str, texts: Sequence[str]) -> list[Object]:
        """The model's answers through its router, one request a text, in the V2 protocol."""
        answers = self._infer(name, namespace, [[_tensor("text", text)] for text in texts])
        return [{**answer, "label": answer["label"][0]} for answer in answers]

    def agreement(self, name: str, namespace: str, made_by: Object, dataset: Object, count: int) -> float:
        """The share of the first test texts that a deployment answers as its model did when it was evaluated."""
        rows = self.predictions(made_by["status"]["artifact"]["uri"], dataset, count)
        answers = self.ask(name, namespace, [row["text"] for row in rows])
        return sum(answer["label"] == row["label"] for answer, row in zip(answers, rows, strict=True)) / len(rows)

    def ask_rows(self, name: str, namespace: str, rows: Sequence[Object]) -> list[Object]:
        """The same of rows of a table, without what is missing: each output by its name."""
        asked = [[_tensor(column, value) for column, value in row.items() if value is not None] for row in rows]
        return self._infer(name, namespace, asked)

    def ask_images(self, name: str, namespace: str, files: Sequence[bytes]) -> list[Object]:
        """The same of images, one request each."""
        asked = [[_tensor("image", base64.b64encode(data).decode())] for data in files]
        return self._infer(name, namespace, asked)

    def ask_histories(self, name: str, namespace: str, histories: Sequence[list[str]]) -> list[Object]:
        """The same of what users have taken, the newest last."""
        return self._infer(name, namespace, [[_names("history", history)] for history in histories])

    def ask_users(self, name: str, namespace: str, users: Sequence[str]) -> list[Object]:
        """The same of users that the model may know."""
        return self._infer(name, namespace, [[_names("user", [user])] for user in users])

    def _infer(self, name: str, namespace: str, requests: Sequence[list[Object]]) -> list[Object]:
        url = f"http://{self.address(name, namespace)}/v2/models/{name}/infer"
        answers = []
        for inputs in requests:
            body = json.dumps({"inputs": inputs}).encode()
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with _DIRECT.open(request, timeout=30) as response:
                answers.append({item["name"]: item["data"] for item in json.load(response)["outputs"]})
        return answers

    def serve_by(self, name: str, namespace: str, server: str) -> None:
        """Has a deployment served by that server, and by no other any more."""
        wanted = json.dumps({"spec": {"server": server}})
        self.kube("patch", "modeldeployment", name, "-n", namespace, "--type=merge", "-p", wanted)
        self.kube.until(
            "modeldeployment",
            name,
            namespace,
            lambda obj: (
                obj["status"].get("stable", {}).get("server") == server
                and not obj["status"].get("candidate")
                and not obj["status"].get("retiring")
            ),
            timeout=300,
            what=f"served by {server}",
        )

    # -- looking ----------------------------------------------------------------------------------------------------

    def settle(self, namespace: str, timeout: float = 200) -> None:
        """Waits until no model is between two revisions and Kubernetes counts every pod as available."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            models = [item["status"] for item in self.kube.list("modeldeployments", namespace)]
            pods = [item.get("status", {}) for item in self.kube.list("deployments", namespace)]
            rolling = any(status.get("retiring") or status.get("candidate") for status in models)
            if not rolling and all(status.get("availableReplicas") == status.get("replicas") for status in pods):
                return
            time.sleep(2)
        raise AssertionError(f"not settled: {models} {pods}")

    def diff(self, objects: Sequence[Object], namespace: str) -> str:
        """kubectl diff."""
        content = listed(objects, namespace)
        return self.kube("diff", "-n", namespace, "-f", "-", stdin=content, check=False)


def _names(name: str, values: list[str]) -> Object:
    return {"name": name, "datatype": "BYTES", "shape": [1, len(values)], "data": values}


def _tensor(name: str, value: str | float) -> Object:
    return {"name": name, "datatype": "BYTES" if isinstance(value, str) else "FP64", "shape": [1, 1], "data": [value]}


def _key(uri: str) -> str:
    return uri.removeprefix(f"s3://{steps.BUCKET}/")


def get_json(url: str, timeout: float = 10) -> Any:
    """The JSON that a URL of the cluster gives."""
    with _DIRECT.open(url, timeout=timeout) as response:
        return json.load(response)
