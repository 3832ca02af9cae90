"""The load generator, a process of its own: sends what a file holds, as fast as the API server takes it.

python -m simulation.load --kubeconfig FILE --objects FILE. Each line of the file: collection path, tab, object.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from simulation.client import Client, Object

CONNECTIONS = 16


def write_objects(file: Path, objects: Iterable[tuple[str, Object]]) -> None:
    """(collection path, object) pairs into a file that this program reads."""
    with file.open("wb") as lines:
        for path, obj in objects:
            lines.write(path.encode() + b"\t" + orjson.dumps(obj) + b"\n")


async def create(kubeconfig: Path, objects: Iterable[bytes], connections: int = CONNECTIONS) -> None:
    """Create all objects, a few at a time. The first refusal ends it."""
    waiting: Iterator[bytes] = iter(objects)

    async def work(client: Client) -> None:
        for line in waiting:
            path, _, obj = line.partition(b"\t")
            await client.request("POST", path.decode(), obj.strip())

    async with Client(kubeconfig, "simulation-load", connections) as client, asyncio.TaskGroup() as workers:
        for _ in range(connections):
            workers.create_task(work(client))


def main() -> None:
    """Send everything, then end."""
    parser = argparse.ArgumentParser("simulation.load", description="Creates objects.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--objects", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(create(options.kubeconfig, options.objects.read_bytes().splitlines()))


if __name__ == "__main__":
    main()
