"""A real Envoy as the operator configures it, under pressure: what is slow ends, what is too much is refused, and a
client that behaves is answered meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import http2, model, run, servers
from serving.bodies import Request
from serving.upstream import upstream

from kaon.api.modeldeployment import Route
from kaon.resources import router_pressure

GOOD = Request("good", json.dumps(servers.request(["the company profit"])).encode())
INFER = f"/v2/models/{servers.MODEL}/infer"
MIB = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that answers."""
    with upstream(model.expected(tmp_path_factory.mktemp("pressure") / "model", 8)) as found:
        yield found.server_port


@contextlib.contextmanager
def client(router: servers.Router) -> Iterator[run.Client]:
    found = run.Client(run.Target("127.0.0.1", router.port, servers.MODEL))
    try:
        yield found
    finally:
        found.close()


def held_mib(pid: int) -> float:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_a_body_that_does_not_come_ends_in_its_time_however_it_drips(server: int, tmp_path: Path) -> None:
    route = Route(timeout_seconds=0.5, max_request_bytes=4096)
    with servers.router(tmp_path, "triton", server, route=route) as router:
        slow = [socket.create_connection(("127.0.0.1", router.port), timeout=20) for _ in range(20)]
        for connection in slow:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nhost: m\r\ncontent-length: 4000\r\n\r\n".encode())
        began = time.monotonic()
        limit = router_pressure.arrival_seconds(route)
        with client(router) as good:
            while time.monotonic() - began < limit - 1:
                for connection in slow:
                    connection.sendall(b" ")
                assert good.send(GOOD).status == 200
                time.sleep(0.5)
        answers = [connection.recv(4096) for connection in slow]
        took = time.monotonic() - began
        for connection in slow:
            connection.close()
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
    assert all(b'{"error":"The request did not arrive in time.' in answer for answer in answers)
    assert limit - 1 < took < limit + 3


def test_a_connection_has_a_hundred_streams_at_most_with_small_windows(server: int, tmp_path: Path) -> None:
    with servers.router(tmp_path, "triton", server) as router:
        connection = http2.Connection(router.port)
        streams = [connection.post(INFER, 1000) for _ in range(150)]
        frames = list(connection.frames(1))
        connection.close()
        with client(router) as good:
            assert good.send(GOOD).status == 200
    announced = http2.settings(next(frame for frame in frames if frame.kind == http2.SETTINGS and frame.content))
    assert announced[http2.MAX_CONCURRENT_STREAMS] == 100
    assert announced[http2.INITIAL_WINDOW_SIZE] == 65_536
    refused = {frame.stream for frame in frames if frame.kind == http2.RST_STREAM}
    gone = any(frame.kind == http2.GOAWAY for frame in frames)
    assert gone or set(streams[100:]) <= refused


def test_more_connections_than_their_buffers_fit_are_refused_and_those_that_are_there_go_on(
    server: int, tmp_path: Path
) -> None:
    route = Route(max_request_bytes=100 * MIB)
    memory = 300 * MIB
    limit = router_pressure.max_connections(memory, route)
    assert limit == router_pressure.LEAST_CONNECTIONS < router_pressure.max_connections(memory, Route())
    with servers.router(tmp_path, "triton", server, route=route, memory=memory) as router, client(router) as good:
        assert good.send(GOOD).status == 200
        more = [socket.create_connection(("127.0.0.1", router.port), timeout=5) for _ in range(limit + 5)]
        more[-1].sendall(b"GET /-/ready HTTP/1.1\r\nhost: m\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert more[-1].recv(100) == b""
        assert good.send(GOOD).status == 200
        # What probes and scrapes is not among those that are refused.
        servers.wait(f"http://127.0.0.1:{router.metrics}/ready", tmp_path / "log", None)
        for connection in more:
            connection.close()


def test_bodies_that_nobody_ends_fill_no_more_than_the_memory_and_good_requests_pass(
    server: int, tmp_path: Path
) -> None:
    memory = 192 * MIB
    with servers.router(tmp_path, "triton", server, memory=memory) as router, client(router) as good:
        connections = [http2.Connection(router.port) for _ in range(8)]
        statuses, poured = [], 0
        for number in range(250):
            index = number % len(connections)
            try:
                poured += connections[index].pour(connections[index].post(INFER, MIB), MIB - 1, patience=0.1)
            except OSError:
                connections[index].close()
                connections[index] = http2.Connection(router.port)
            if number % 10 == 0:
                statuses.append(good.send(GOOD).status)
        held = held_mib(router.pid)
        reset = router.counters("reset_high_memory_stream.count")
        for connection in connections:
            connection.close()
        end = time.monotonic() + 10
        while good.send(GOOD).status != 200:
            assert time.monotonic() < end, "the router does not recover"
            time.sleep(0.2)
    assert poured > memory
    assert sum(reset.values()) > 0
    assert held < memory / MIB
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 0.9 * len(statuses)


@pytest.mark.parametrize(
    "wrong",
    [
        Request("underscore", GOOD.body, headers={"x_kaon_request": "metadata"}),
        Request("escaped slash", GOOD.body, path="{model}%2Finfer"),
        Request("many headers", GOOD.body, headers={f"x-{number}": "y" for number in range(120)}),
    ],
    ids=lambda request: request.name,
)
def test_a_request_that_servers_may_read_in_two_ways_is_refused(server: int, tmp_path: Path, wrong: Request) -> None:
    with servers.router(tmp_path, "triton", server) as router, client(router) as asking:
        answer = asking.send(wrong)
        assert answer.status in (400, 431) and "error" in str(answer.content)
        assert asking.send(GOOD).status == 200
