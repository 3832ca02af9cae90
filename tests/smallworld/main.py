"""The command: explores worlds, in small or full bounds, and prints a line for each."""

from __future__ import annotations

import argparse

from .explore import HEADER, Explorer, Found
from .worlds import FULL, WORLDS


def main() -> int:
    """Explore. 1 when something was found, or a world was not exhausted."""
    parser = argparse.ArgumentParser(prog="python tests/smallworld", description=__doc__)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help="default: all")
    parser.add_argument("--full", action="store_true", help="in the larger bounds: minutes, and some GB of memory")
    parser.add_argument("--limit", type=int, default=10**9, help="states after which a world is given up")
    options = parser.parse_args()
    unknown = set(options.worlds) - {world.name for world in WORLDS}
    if unknown:
        parser.error(f"no such world: {', '.join(sorted(unknown))}; there are {', '.join(w.name for w in WORLDS)}")
    print(HEADER, flush=True)
    fine = True
    for world in FULL if options.full else WORLDS:
        if not options.worlds or world.name in options.worlds:
            try:
                explored = Explorer(world).explore(options.limit)
            except Found as found:
                print(f"{world.name:14}{found}", flush=True)
                fine = False
            else:
                print(explored, flush=True)
                fine &= explored.exhausted
    return 0 if fine else 1
