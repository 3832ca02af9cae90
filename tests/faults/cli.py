"""`python tests/faults`: the fault table in full, a part of it, or one run again."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from localcluster import Cluster

from .bench import control_plane, stages
from .driver import surveyed
from .forked import ForkServer
from .plans import FAULTS, Plan
from .scenario import SCENARIOS
from .stand import Ground
from .sweep import Sweep

ACCIDENTS = Path(__file__).with_name("test_accidents.py")
ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when nothing failed."""
    told = _options(arguments)
    folder = Path(told.out or tempfile.mkdtemp(prefix="kaon-faults-"))
    print(f"seed {told.seed}; traces in {folder}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the control plane is taken down all the same
    with control_plane(told.cluster, told.keep) as cluster, stages(cluster):
        failed = asyncio.run(_run(told, cluster, folder))
    if told.full and not told.fault:
        print("Accidents:", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", str(ACCIDENTS)]
        failed += bool(subprocess.run(command, cwd=ROOT, env={**os.environ, "KAON_FAULTS": "full"}).returncode)
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests/faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every fault at every request, then the accidents")
    parser.add_argument("--points", type=int, default=4, help="without --full: requests for each fault [4]")
    parser.add_argument("--replay", type=Plan.parse, metavar="FAULT:K", help="one run, with its trace")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--several", type=int, default=0, help="runs with three faults each, by the seed")
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="default: all with --full, else pipeline"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--parallel", type=int, default=3, help="runs side by side [3]")
    parser.add_argument("--cluster", default=f"faults-{os.getpid()}", help="name of the control plane")
    parser.add_argument("--keep", action="store_true", help="leave the control plane running")
    parser.add_argument("--out", help="folder for traces of runs that failed")
    return parser.parse_args(arguments)


async def _run(told: argparse.Namespace, cluster: Cluster, folder: Path) -> int:
    """How many runs failed."""
    failed = 0
    async with ForkServer() as forks:
        for scenario in told.scenario or (tuple(SCENARIOS) if told.full else ("pipeline",)):
            ground = await surveyed(Ground(cluster, folder, SCENARIOS[scenario], forks=forks))
            sweep = Sweep(scenario, ground, told.parallel)
            if told.replay is not None:
                failed += await _replay(sweep, told.replay)
                continue
            points = dict.fromkeys(told.fault or FAULTS, None if told.full else told.points)
            table = await sweep.table(points, told.seed, told.several)
            print(f"\n{table}\n")
            failed += len(table.failed)
    return failed


async def _replay(sweep: Sweep, plan: Plan) -> int:
    outcome = await sweep.run(plan)
    print(outcome.trace, *outcome.problems, sep="\n")
    print(f"{outcome.seconds:.1f} s, {'hit' if outcome.hit else 'not reached'}")
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
