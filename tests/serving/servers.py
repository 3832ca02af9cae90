"""Real Triton, TorchServe and Envoy as processes of this machine, on 127.0.0.1, laid out as in their pods.

Each server gets a Python environment of its own from its lock file, kept in the cache folder. TorchServe borrows torch
and the rest of kaon/ml-base from the environment that runs the tests, as its image does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serving import counting
from tests.unit.jobs.serve import tiny, tinyhistory, tinytable

from kaon.api.modeldeployment import Route
from kaon.api.signature import Signature
from kaon.contract.jobspec import FetchWork
from kaon.contract.manifest import ModelCard
from kaon.resources.router_config import Backend, static_config
from kaon.resources.router_pressure import DEFAULT_MEMORY_BYTES
from kaon.resources.serving_ports import ROUTER_ADMIN_PORT, ROUTER_METRICS_PORT, ROUTER_PORT, TRAFFIC_PORT
from kaon_jobs.serve import layout, probe

ROOT = Path(__file__).resolve().parents[2]
MODEL = "m"
START_SECONDS = 60.0
MODELS: dict[str, tuple[Callable[[Path], None], Callable[[Path], ModelCard]]] = {
    "text": (tiny.write_model, tiny.card),
    "odd-classes": (tiny.write_model, partial(tiny.card, labels=tiny.ODD_LABELS)),
    **tinytable.KINDS,
    "history": (tinyhistory.write_model, tinyhistory.card),
}
"""Name -> what writes a model into a folder, and what makes its card."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def environment(server: str, cache: Path) -> Path:
    """The folder of a server's Python environment, made when its lock file is new."""
    lock = ROOT / "requirements" / f"{server}.lock"
    beside = sysconfig.get_path("purelib")
    key = hashlib.sha256(lock.read_bytes() + beside.encode()).hexdigest()[:12]
    folder = cache / "serving" / f"{server}-{key}"
    if (folder / "complete").exists():
        return folder
    print(f"environment of {server} in {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)],
        check=True,
        env={**os.environ, "VIRTUAL_ENV": str(folder)},
    )
    if server == "torchserve":
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (folder / "lib" / version / "site-packages" / "ml-base.pth").write_text(f"{beside}\n")
    (folder / "complete").touch()
    return folder


@dataclass(frozen=True)
class Ports:
    """What a server listens on."""

    traffic: int
    metrics: int
    management: int


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in found:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in found]


def lay_out(folder: Path, server: str, max_batch_size: int, kind: str = "text") -> Path:
    """A tiny model, one of MODELS, laid out as by the init container. Returns the folder of the models."""
    models, files = folder / "models", folder / "files"
    models.mkdir(parents=True)
    write, described = MODELS[kind]
    write(files)
    told = {"stage": "fetch", "kind": "model", "server": server, "modelName": MODEL, "targetDir": str(models)}
    model = {"uri": "file:///mnt/tiny", "digest": "sha256:" + "0" * 64}
    sizes = {"threads": 1, "maxBatchSize": max_batch_size, "maxDelayMs": 0}
    work = FetchWork.model_validate({**told, **sizes, "model": model})
    layout.lay_out(work, described(files), files, models)
    return models


@contextlib.contextmanager
def running(server: str, folder: Path, cache: Path, max_batch_size: int, kind: str = "text") -> Iterator[Ports]:
    """A server with a tiny model, one of MODELS. Gives its ports once the model answers."""
    models = lay_out(folder, server, max_batch_size, kind)
    ports = Ports(*free_ports(3))
    python = environment(server, cache)
    settings = {
        "PATH": f"{python / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "KAON_WORK_DIR": str(folder / "work"),
        "KAON_MODEL_DIR": str(models),
        "OMP_NUM_THREADS": "1",
    }
    command = ["sh", str(ROOT / "images" / server / "entrypoint.sh")]
    if server == "triton":
        command += [f"--http-port={ports.traffic}", f"--metrics-port={ports.metrics}"]
        command += ["--http-address=127.0.0.1", "--metrics-address=127.0.0.1"]
    else:
        _move_torchserve(models / "config.properties", ports)
    with process(command, folder / "log", settings):
        url = f"http://127.0.0.1:{ports.traffic}/v2/models/{MODEL}/infer"
        wait(url, folder / "log", json.dumps(first_request(kind)).encode())
        answered = counting.settled("127.0.0.1", ports.metrics)
        _check_golden(models / layout.GOLDEN, url)
        counted = counting.settled("127.0.0.1", ports.metrics)
        if counted != answered:
            raise RuntimeError(f"{server} counts its answers to the probe: {answered} before, {counted} after")
        yield ports


def _check_golden(file: Path, url: str) -> None:
    """The startup probe of the pod: recorded answers, those to an empty text and to one of full length among them."""
    file.write_text(json.dumps({**json.loads(file.read_text()), "url": url}))
    total = len(json.loads(file.read_text())["examples"])
    agreed = probe.golden(file)
    if agreed != total:
        raise RuntimeError(f"{agreed} of {total} recorded answers agree at {url}")


def _move_torchserve(file: Path, ports: Ports) -> None:
    named = {"inference": ports.traffic, "management": ports.management, "metrics": ports.metrics}
    kept = [line for line in file.read_text().splitlines() if not line.split("=")[0].endswith("_address")]
    moved = [f"{name}_address=http://127.0.0.1:{port}" for name, port in named.items()]
    file.write_text("\n".join([*kept, *moved, ""]))


@dataclass(frozen=True)
class Router:
    """A running Envoy."""

    port: int
    admin: int
    pid: int
    metrics: int

    def counters(self, *names: str) -> dict[str, int]:
        """The sums of the counters whose names end so."""
        with _DIRECT.open(f"http://127.0.0.1:{self.admin}/stats?format=json", timeout=10) as response:
            stats = json.load(response)["stats"]
        values = {item["name"]: item["value"] for item in stats if "value" in item}
        return {name: sum(value for key, value in values.items() if key.endswith(name)) for name in names}


@contextlib.contextmanager
def router(
    folder: Path,
    server: str,
    upstream: int,
    *,
    max_batch_size: int = 8,
    route: Route | None = None,
    checked: bool = True,
    signature: Signature = tiny.SIGNATURE,
    memory: int = DEFAULT_MEMORY_BYTES,
    workers: int = 1,
) -> Iterator[Router]:
    """The router of a model as the operator configures it, in front of one server.

    checked: False leaves the check of requests out, to measure what it costs. memory: the container's limit in bytes.
    """
    behind = [Behind("aaaaaaaa", upstream, 100, signature)]
    with router_to(
        folder,
        server,
        behind,
        max_batch_size=max_batch_size,
        route=route,
        checked=checked,
        memory=memory,
        workers=workers,
    ) as found:
        yield found


@dataclass(frozen=True)
class Behind:
    """A revision behind a router: its name, the port of its server on 127.0.0.1, its weight and its signature."""

    revision: str
    port: int
    weight: int
    signature: Signature


@contextlib.contextmanager
def router_to(
    folder: Path,
    server: str,
    behind: Sequence[Behind],
    *,
    max_batch_size: int = 8,
    route: Route | None = None,
    checked: bool = True,
    memory: int = DEFAULT_MEMORY_BYTES,
    workers: int = 1,
) -> Iterator[Router]:
    """The same in front of several revisions."""
    envoy = shutil.which("envoy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if envoy is None:
        raise RuntimeError("envoy is missing: install requirements/router.lock into the environment")
    backends = [Backend(one.revision, server, "127.0.0.1", one.weight, max_batch_size, one.signature) for one in behind]
    upstream = {one.revision: one.port for one in behind}
    traffic, metrics, admin = free_ports(3)
    ports = {
        ROUTER_PORT: traffic,
        ROUTER_METRICS_PORT: metrics,
        ROUTER_ADMIN_PORT: admin,
    }
    # TorchServe and the router have the same port; each is in a pod of its own.
    config = static_config(MODEL, route or Route(), backends, memory)
    listeners, clusters = config["static_resources"]["listeners"], config["static_resources"]["clusters"]
    moved: dict[str, Any] = {
        **_moved({key: value for key, value in config.items() if key != "static_resources"}, ports),
        "static_resources": {
            "listeners": [_moved(item, ports) for item in listeners],
            "clusters": [
                _moved(item, {TRAFFIC_PORT[server]: upstream[item["name"]]} if item["name"] in upstream else ports)
                for item in clusters
            ],
        },
    }
    if not checked:
        _leave_out_the_check(moved)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "envoy.json").write_text(json.dumps(moved))
    # Process 1 in the image is Envoy itself; the wheel's command is a wrapper that starts it.
    command = [envoy, "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--concurrency", str(workers)]
    with process([*command, "--log-level", "warning"], folder / "log", {}) as pid:
        wait(f"http://127.0.0.1:{traffic}/-/ready", folder / "log", None)
        yield Router(traffic, admin, pid, metrics)


def _moved(value: Any, ports: Mapping[int, int]) -> Any:
    if isinstance(value, dict):
        return {
            key: ports.get(item, item)
            if key == "port_value"
            else ("127.0.0.1" if item == "0.0.0.0" else _moved(item, ports))
            for key, item in value.items()
        }
    return [_moved(item, ports) for item in value] if isinstance(value, list) else value


def _leave_out_the_check(config: dict[str, Any]) -> None:
    name = "envoy.filters.http.lua"
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [item for item in manager["http_filters"] if item["name"] != name]
    host = manager["route_config"]["virtual_hosts"][0]
    weighted = [item for route in host["routes"] for item in _weighted(route)]
    for item in [host, *weighted]:
        item.get("typed_per_filter_config", {}).pop(name, None)


def _weighted(route: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])
    return found


@contextlib.contextmanager
def process(command: list[str], log: Path, settings: Mapping[str, str]) -> Iterator[int]:
    """A process with all that it starts, in a process group of its own, which ends with the block. Gives its id."""
    with log.open("w") as output:
        started = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **settings}, start_new_session=True
        )
    try:
        yield started.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def wait(url: str, log: Path, body: bytes | None) -> None:
    """Until the URL answers 200.

    Raises:
        RuntimeError: it does not in time; with the end of the log.
    """
    end = time.monotonic() + START_SECONDS
    asked = urllib.request.Request(url, body, {"content-type": "application/json"})
    while time.monotonic() < end:
        try:
            with _DIRECT.open(asked, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer within {START_SECONDS:g} s:\n{log.read_text()[-4000:]}")


def first_request(kind: str) -> dict[str, Any]:
    """A good request for a model of that kind."""
    if kind in ("text", "odd-classes"):
        return request(["shares"])
    if kind == "history":
        return {"inputs": [{"name": "history", "datatype": "BYTES", "shape": [1, 1], "data": ["teacher"]}]}
    return {"inputs": [{"name": "age", "datatype": "FP64", "shape": [1, 1], "data": [41]}]}


def request(texts: list[str], **fields: Any) -> dict[str, Any]:
    """A good request for the tiny model."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}
    return {"inputs": [tensor], **fields}
