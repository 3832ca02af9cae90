"""What a well-behaved client of the router sees while others misbehave: `python benchmarks/router/pressure.py`.

An Envoy as the operator configures it, in front of a server that answers at once (another Envoy). One client asks
without a pause. Beside it, in turn: nobody; slow bodies (hundreds of HTTP/1 connections that send a byte now and then);
many streams (HTTP/2 connections, each with a hundred requests whose bodies drip); bodies that nobody ends, of which the
router's memory could be full. Each phase has its quiet one beside it, in rounds. Prints the client's p50 and
p99. Exit code 1 when a p99 is more than --bound times the quiet one, or a request of the client fails.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from serving import http2, servers  # noqa: E402

MIB = 2**20
MEMORY = 256 * MIB
"""Of the router whose memory is filled. The others have what is the default."""
INFER = f"/v2/models/{servers.MODEL}/infer"
SETTLE_SECONDS = 1.5
"""From the start of an attack to the measurement: its connections are there then."""


def _costs() -> Any:
    """The other benchmark of this folder, whose server and client these are."""
    specification = importlib.util.spec_from_file_location("router_costs", Path(__file__).with_name("__main__.py"))
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["router_costs"] = module
    specification.loader.exec_module(module)
    return module


def slow_bodies(port: int, over: Event, count: int = 500, held: int = 0) -> None:
    """HTTP/1: a request a connection, `held` bytes and then one a second; what the router ends begins again."""
    head = f"POST {INFER} HTTP/1.1\r\nhost: m\r\ncontent-length: {MIB}\r\n\r\n".encode() + b" " * held
    connections: list[socket.socket | None] = [None] * count
    while not over.is_set():
        for index, connection in enumerate(connections):
            try:
                if connection is None:
                    connections[index] = connection = socket.create_connection(("127.0.0.1", port), timeout=2)
                    connection.sendall(head)
                connection.sendall(b" ")
            except OSError:
                connections[index] = None
            # Evenly over the second, so that the attack takes little of this machine's processors.
            time.sleep(1 / count)


def many_streams(port: int, over: Event, count: int = 20) -> None:
    """HTTP/2: a hundred streams on each connection, a byte of some body all the time."""
    connections: list[tuple[http2.Connection, list[int]]] = []
    while not over.is_set():
        with contextlib.suppress(OSError):
            if len(connections) < count:
                connection = http2.Connection(port)
                connections.append((connection, [connection.post(INFER, 1_000_000) for _ in range(100)]))
        if not connections:
            time.sleep(0.05)
        for connection, streams in list(connections):
            try:
                # Evenly over the time, as above.
                for stream in streams[:: len(connections)]:
                    connection.send(http2.DATA, 0, stream, b" ")
            except OSError:
                connections.remove((connection, streams))
            time.sleep(0.05 / count)


def held_bodies(port: int, over: Event) -> None:
    """HTTP/1: as many connections as the router lets in, each with all of a large body but the end."""
    slow_bodies(port, over, 300, MIB - 1000)


def unended_bodies(port: int, over: Event, count: int = 8) -> None:
    """HTTP/2: bodies of a megabyte less one byte, 20 a second, more than the router's memory in a few seconds."""
    connections: list[http2.Connection | None] = [None] * count
    number = 0
    while not over.is_set():
        number += 1
        try:
            found = connections[number % count] = connections[number % count] or http2.Connection(port)
            found.pour(found.post(INFER, MIB), MIB - 1, patience=0.05)
        except OSError:
            connections[number % count] = None
        time.sleep(0.05)


ATTACKS: dict[str, Callable[[int, Event], None]] = {
    "slow bodies (500 connections)": slow_bodies,
    "many streams (2,000 on 20 connections)": many_streams,
    "HTTP/1 bodies that nobody ends (300 connections of 1 MiB)": held_bodies,
    "HTTP/2 bodies that nobody ends (20 MiB a second)": unended_bodies,
}
FILLING = (held_bodies, unended_bodies)


def ask(connection: Any, seconds: float) -> list[float]:
    """Milliseconds of one request after the other."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        found.append(connection.ask() * 1e3)
    return found


def under(attack: Callable[[int, Event], None], port: int, connection: Any, seconds: float) -> list[float]:
    """The client's times while others attack."""
    over = multiprocessing.Event()
    process = multiprocessing.Process(target=attack, args=(port, over))
    process.start()
    try:
        time.sleep(SETTLE_SECONDS)
        return ask(connection, seconds)
    finally:
        over.set()
        process.join()


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python benchmarks/router/pressure.py", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="for each phase of a round (default: 5)")
    parser.add_argument("--rounds", type=int, default=4, help="quiet and attacked in turn (default: 4)")
    parser.add_argument("--only", metavar="WORDS", default="", help="only what others do whose name has these words")
    parser.add_argument("--bound", type=float, default=1.5, help="of p99 beside the quiet one (default: 1.5)")
    options = parser.parse_args()
    costs, worst = _costs(), 0.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kaon-pressure-")))
        server = stack.enter_context(costs.answering(folder / "answers"))
        usual = stack.enter_context(servers.router(folder / "usual", "triton", server, workers=2))
        small = stack.enter_context(servers.router(folder / "small", "triton", server, memory=MEMORY, workers=2))
        print(f"{os.cpu_count()} processors; milliseconds of one request, quiet → attacked.\n")
        print("| Beside the client | p50 | p99 | p99, times the quiet one |\n|---|---|---|---|", flush=True)
        for name, attack in ATTACKS.items():
            if options.only not in name:
                continue
            router = small if attack in FILLING else usual
            connection = costs.Connection(router.port, costs.body([costs.ASCII]))
            ask(connection, 1)
            quiet: list[float] = []
            attacked: list[float] = []
            for _ in range(options.rounds):
                quiet += ask(connection, options.seconds)
                attacked += under(attack, router.port, connection, options.seconds)
                # What the attackers left is gone before the next quiet phase.
                time.sleep(SETTLE_SECONDS)
            ratio = p99(attacked) / p99(quiet)
            worst = max(worst, ratio)
            medians = f"{statistics.median(quiet):.3f} → {statistics.median(attacked):.3f}"
            print(f"| {name} | {medians} | {p99(quiet):.3f} → {p99(attacked):.3f} | {ratio:.2f} |", flush=True)
            connection.close()
        held = [line for line in Path(f"/proc/{small.pid}/status").read_text().splitlines() if "VmHWM" in line]
        counted = small.counters("reset_high_memory_stream.count", "downstream_global_cx_overflow")
        most = int(held[0].split()[1]) / 1024
        print(f"\nThe filled router had at most {most:.0f} MiB of its {MEMORY // MIB} MiB. {counted}")
    return 1 if worst > options.bound else 0


if __name__ == "__main__":
    sys.exit(main())
