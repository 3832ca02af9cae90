"""Hostile requests to router + Triton and router + TorchServe: `python tests/serving [--count N] [--seed S]`.

Everything is real, on 127.0.0.1, with a tiny model that is made here. One request again: `--seed S --index I`. Triton's
management is asked as well, and what the servers count is compared with what they answered. Exit code 1 when anything
is not as it must be. Java 17 is needed; the servers' Python environments are made in the cache folder.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "hack" / "localcluster")]

from serving import bodies, counting, management, model, run, servers  # noqa: E402

from kaon.api.modeldeployment import Route  # noqa: E402
from localcluster.paths import cache_root  # noqa: E402

MAX_BATCH_SIZE = 4
MAX_BYTES = 65536
PROGRESS_SECONDS = 10.0


def main() -> int:
    """Start, send, tell."""
    parser = argparse.ArgumentParser(prog="python tests/serving", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many requests (default: 10,000)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument("--index", type=int, help="this request alone")
    parser.add_argument("--model", choices=servers.MODELS, default="text", help="what it reads and answers")
    parser.add_argument("--unchecked", action="store_true", help="leave the router's check out: what servers answer")
    options = parser.parse_args()
    # The servers end with this process, however it ends.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    print(f"seed {options.seed}", flush=True)
    indexes = range(options.count) if options.index is None else [options.index]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kaon-serving-")))
        routers, opened = {}, []
        expected = model.expected(folder / "model", MAX_BATCH_SIZE, options.model)
        card = servers.MODELS[options.model][1](folder / "model")
        signature = card.served_signature
        counts: dict[str, int] = {}
        for server in ("triton", "torchserve"):
            ports = stack.enter_context(
                servers.running(server, folder / server, cache_root(), MAX_BATCH_SIZE, options.model)
            )
            counts[server] = ports.metrics
            if server == "triton":
                opened = list(management.left_open("127.0.0.1", ports.traffic, servers.MODEL))
            route = Route(max_request_bytes=MAX_BYTES)
            routers[server] = stack.enter_context(
                servers.router(
                    folder / f"router-{server}",
                    server,
                    ports.traffic,
                    max_batch_size=MAX_BATCH_SIZE,
                    route=route,
                    signature=signature,
                    checked=not options.unchecked,
                )
            )
        requests = (
            bodies.make(options.seed, index, max_batch_size=MAX_BATCH_SIZE, max_bytes=MAX_BYTES, signature=signature)
            for index in indexes
        )
        targets = {server: run.Target("127.0.0.1", router.port, servers.MODEL) for server, router in routers.items()}
        began = time.monotonic()
        shown = with_progress(requests, len(indexes))
        report = run.against(targets, shown, expected)
        for server, port in counts.items():
            report.wrong += [
                f"{server}: {line}" for line in counting.unlike(targets[server], port, card.labels, expected)
            ]
        report.wrong += [f"Triton's management is open: {line}" for line in opened]
        for server, router in routers.items():
            counted = router.counters("aaaaaaaa.upstream_rq_5xx", "lua.errors")
            print(f"{server}: {counted}")
            report.wrong += [f"{server}'s router counts {value} {name}" for name, value in counted.items() if value]
    print(f"{time.monotonic() - began:.0f} s. {report}")
    return 1 if report.wrong else 0


def with_progress(requests: Iterable[bodies.Request], count: int) -> Iterator[bodies.Request]:
    """The requests as they are asked for; how far they are is told now and then."""
    began = told = time.monotonic()
    for sent, request in enumerate(requests):
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            told = now
            print(f"{sent:>6} of {count}, {sent / (now - began):.0f} a second", flush=True)
        yield request


if __name__ == "__main__":
    sys.exit(main())
