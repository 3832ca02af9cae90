"""The operator beside a Go peer and bare Jobs: python benchmarks/operator --help. What is measured: README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]

from figures import table  # noqa: E402
from lifetime import existing, idle, near_idle, pipelines, restart  # noqa: E402
from measure import measure  # noqa: E402
from sides import SIDES  # noqa: E402
from simulation.requests import breakdown  # noqa: E402

from localcluster import tools  # noqa: E402


def main() -> None:
    """Run what was asked for; the file grows with each result, so that a broken run keeps what it had."""
    parser = _parser()
    told = parser.parse_args()
    if told.idle and not told.restart:
        parser.error("--idle rests beside the resources of --restart: say how many")
    if not (told.runs or told.restart or told.near_idle or told.pipelines):
        told.runs = [300, 1000, 5000]
    _build(told)
    results = Results(told.out)
    with tempfile.TemporaryDirectory(prefix="kaon-bench-") as folder:
        for runs in told.runs:
            compare(results, runs, told.sides, Path(folder), told.verbose)
        if told.near_idle:
            for side in told.sides:
                results.add("near_idle", {side: near_idle(side, told.near_idle, Path(folder))})
        if told.restart:
            with existing(told.restart, Path(folder)) as cluster:
                results.add("restart", restart(cluster, told.restart, Path(folder)))
                if told.idle:
                    results.add("idle", idle(cluster, told.idle, Path(folder)))
        if told.pipelines:
            results.add("pipelines", pipelines(told.pipelines, Path(folder)))


class Results:
    """What was measured so far, printed and kept in a file."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._found: dict[str, Any] = {"machine": _machine()}

    def add(self, name: str, found: dict[str, Any]) -> None:
        """Figures under a name; they join what is there."""
        self.keep(name, found)
        print(f"{name}: {json.dumps(found, indent=2, ensure_ascii=False)}", flush=True)

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """The same, without printing."""
        self._found.setdefault(name, {}).update(found)
        if self._file is not None:
            self._file.write_text(json.dumps(self._found, indent=2, ensure_ascii=False) + "\n")


def compare(results: Results, runs: int, sides: list[str], folder: Path, verbose: bool) -> None:
    """All sides with the same number of runs, one after the other."""
    found = {}
    for side in sides:
        print(f"{side}, {runs:,} runs …", file=sys.stderr, flush=True)
        found[side], asked = measure(side, runs, folder)
        results.keep(f"runs_{runs}", found)
        if verbose:
            print(f"{side}: requests a run\n{breakdown(asked, runs)}\n", flush=True)
    print(f"{table(runs, found)}\n", flush=True)


def _build(told: argparse.Namespace) -> None:
    """Builds of many minutes come before anything is measured."""
    peer = ["trainer", "jobset"] if "peer" in told.sides and (told.runs or told.near_idle) else []
    for program in ["kube-apiserver", "kwok", *peer]:
        tools.tool(program)


def _machine() -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks/operator", description="How fast and how heavy the operator is.")
    parser.add_argument("--runs", type=int, nargs="+", default=[], help="sizes of the comparison; alone: 300 1000 5000")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES), help="default: all")
    parser.add_argument("--near-idle", type=int, default=0, metavar="RUNS", help="one run at a time, so many")
    parser.add_argument("--restart", type=int, default=0, metavar="N", help="start beside N finished TrainingRuns")
    parser.add_argument("--idle", type=float, default=0, metavar="MINUTES", help="after --restart: writes at rest")
    parser.add_argument("--pipelines", type=int, default=0, metavar="N", help="N whole pipelines at once")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the figures go")
    parser.add_argument("--verbose", action="store_true", help="also print requests by verb and resource")
    return parser


if __name__ == "__main__":
    main()
