"""What the router's check of requests costs: `python benchmarks/router [--seconds S]`.

Two Envoys as the operator configures them, one without the check, in front of one server that answers at once (a third
Envoy). Requests go to them in turn, so that both see the same machine. Prints a table: latency of one request after the
other, Envoy's processor time a request, and requests a second with several clients.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from serving import servers  # noqa: E402

from kaon.api.modeldeployment import Route  # noqa: E402

CLIENTS = 4
TICK = os.sysconf("SC_CLK_TCK")
ASCII, CHINESE = "the company sold shares for a dollar more than before. ", "公司以更高的价格出售股票。"


def body(texts: list[str], *, escaped: bool = False) -> bytes:
    """A good request."""
    return json.dumps(servers.request(texts), ensure_ascii=escaped).encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "1 text of 55 characters": lambda: body([ASCII]),
    "8 texts of 550 characters": lambda: body([ASCII * 10] * 8),
    "64 KiB": lambda: body([ASCII * (65536 // 55)]),
    "1 MiB": lambda: body([ASCII * (2**20 // 55)]),
    "1 MiB of Chinese": lambda: body([CHINESE * (2**20 // 39)]),
    "1 MiB of Chinese in escapes": lambda: body([CHINESE * (2**20 // 78)], escaped=True),
    "16 MiB": lambda: body([ASCII * (2**24 // 55)]),
}


@dataclass(frozen=True)
class Side:
    """A router and its process."""

    port: int
    pid: int


class Connection:
    """A keep-alive connection that sends one request again and again."""

    def __init__(self, port: int, content: bytes) -> None:
        head = f"POST /v2/models/{servers.MODEL}/infer HTTP/1.1\r\nhost: m\r\ncontent-length: {len(content)}\r\n\r\n"
        self._request = head.encode() + content
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> float:
        """The seconds until the answer is there."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(rest) < length:
            rest += self._receive()
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the router answers {head.decode()} {rest.decode()}")
        return time.perf_counter() - began

    def _receive(self) -> bytes:
        found = self._socket.recv(65536)
        if not found:
            raise RuntimeError("the router closed the connection")
        return found

    def close(self) -> None:
        """End it."""
        self._socket.close()


@contextlib.contextmanager
def answering(folder: Path) -> Iterator[int]:
    """An Envoy that reads a request whole and answers it itself."""
    (port,) = servers.free_ports(1)
    envoy_type = "type.googleapis.com/envoy.extensions.filters"
    manager: dict[str, Any] = {
        "@type": f"{envoy_type}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "answers",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": '{"outputs":[]}'}},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "buffer",
                "typed_config": {"@type": f"{envoy_type}.http.buffer.v3.Buffer", "max_request_bytes": 2**26},
            },
            {"name": "router", "typed_config": {"@type": f"{envoy_type}.http.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "answers",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    folder.mkdir()
    (folder / "envoy.json").write_text(json.dumps({"static_resources": {"listeners": [listener]}}))
    envoy = shutil.which("envoy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    command = [str(envoy), "-c", str(folder / "envoy.json"), "--disable-hot-restart", "--concurrency", "1"]
    with servers.process(command, folder / "log", {}):
        servers.wait(f"http://127.0.0.1:{port}/", folder / "log", None)
        yield port


def processor_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def load(port: int, content: bytes, end: float, count: Any) -> None:
    """One client that asks without a pause."""
    connection, asked = Connection(port, content), 0
    while time.time() < end:
        connection.ask()
        asked += 1
    connection.close()
    with count.get_lock():
        count.value += asked


def throughput(side: Side, content: bytes, seconds: float) -> tuple[float, float]:
    """Requests a second of several clients, and Envoy's processor time a request in seconds."""
    count = multiprocessing.Value("l", 0)
    used, end = processor_seconds(side.pid), time.time() + seconds
    clients = [multiprocessing.Process(target=load, args=(side.port, content, end, count)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
        if client.exitcode != 0:
            raise RuntimeError("a client failed; its error is above")
    return count.value / seconds, (processor_seconds(side.pid) - used) / max(count.value, 1)


def latencies(sides: list[Side], content: bytes, seconds: float) -> list[list[float]]:
    """Seconds a request on each side, asked in turn."""
    connections = [Connection(side.port, content) for side in sides]
    for connection in connections:
        for _ in range(20):
            connection.ask()
    found: list[list[float]] = [[] for _ in sides]
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(found[0]) < 30:
        for connection, times in zip(connections, found, strict=True):
            times.append(connection.ask())
    for connection in connections:
        connection.close()
    return found


def row(name: str, content: bytes, sides: list[Side], seconds: float) -> str:
    """One line of the table: without the check → with it."""
    found = latencies(sides, content, seconds)
    pairs = [
        [statistics.median(times) * 1e3 for times in found],
        [statistics.quantiles(times, n=100)[98] * 1e3 for times in found],
    ]
    rates = [throughput(side, content, seconds / 2) for side in (sides[0], sides[1], sides[1], sides[0])]
    ways = [(rates[0], rates[3]), (rates[1], rates[2])]
    pairs.append([statistics.mean(used for _, used in way) * 1e3 for way in ways])
    pairs.append([statistics.mean(rate for rate, _ in way) for way in ways])
    formats = ("{:.3f}", "{:.3f}", "{:.3f}", "{:,.0f}")
    cells = [" → ".join(form.format(value) for value in pair) for form, pair in zip(formats, pairs, strict=True)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/router", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each measurement (default: 10)")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kaon-router-")))
        port = stack.enter_context(answering(folder / "answers"))
        sides = []
        for checked in (False, True):
            router = stack.enter_context(
                servers.router(
                    folder / f"checked-{checked}",
                    "triton",
                    port,
                    route=Route(max_request_bytes=2**25),
                    checked=checked,
                )
            )
            sides.append(Side(router.port, router.pid))
        print("Without the check → with it; milliseconds, and requests a second of", CLIENTS, "clients.\n")
        print("| Body | p50 | p99 | Envoy's processor time | requests a second |\n|---|---|---|---|---|", flush=True)
        for name, content in BODIES.items():
            print(row(name, content(), sides, options.seconds), flush=True)


if __name__ == "__main__":
    main()
