"""This checkout's operator and another checkout's at the same moment, each in a cluster of its own.

    python benchmarks/operator/beside.py ../kaon-before [--runs 600] [--pairs 3]

One after the other, two measurements on a shared machine differ by more than what is looked for. At the same moment
whatever slows one slows the other too, so the ratio of the two holds where the figures do not. Each checkout needs its
own `.venv` (`make venv`), and runs its own benchmark with its own simulation.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIDE = "KAON_BENCHMARK_SIDE"
"""Tells a child its name and the folder where both say that they are ready."""
NAMES = ("this", "other")
POLL_SECONDS = 0.02


def main() -> None:
    """Prints a table for each pair, and the median of the ratios."""
    _import_from(ROOT)
    from figures import aligned

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--runs", type=int, default=600, help="runs of each side")
    parser.add_argument("--pairs", type=int, default=3)
    told = parser.parse_args()
    checkouts = dict(zip(NAMES, (ROOT, told.other.resolve()), strict=True))
    for checkout in checkouts.values():
        if not (checkout / ".venv" / "bin" / "python").exists():
            parser.error(f"{checkout} has no .venv: run `make venv` there")
    ratios = []
    print(f"{told.runs:,} runs of each at once; {NAMES[0]} / {NAMES[1]}", flush=True)
    for number in range(told.pairs):
        found = _pair(checkouts, told.runs)
        this, other = (found[name] for name in NAMES)
        ratios.append(this["jobs_per_minute"] / other["jobs_per_minute"])
        rows = [
            [f"pair {number + 1}", *NAMES, "ratio"],
            *(_row(what, this[field], other[field]) for what, field in FIELDS),
        ]
        print(f"\n{aligned(rows)}", flush=True)
    print(f"\njobs a minute, median of the ratios: {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


FIELDS = (
    ("jobs a minute", "jobs_per_minute"),
    ("controllers: CPU a run, ms", "controllers_cpu_ms_per_run"),
    ("API server: CPU, s", "apiserver_cpu_s"),
    ("API requests a run", "requests_per_run"),
)


def _row(what: str, this: float, other: float) -> list[str]:
    return [what, f"{this:,.1f}", f"{other:,.1f}", f"{this / other:.3f}"]


def _pair(checkouts: dict[str, Path], runs: int) -> dict[str, dict[str, Any]]:
    """The figures of both, measured at once."""
    with tempfile.TemporaryDirectory(prefix="kaon-beside-") as scratch:
        (Path(scratch) / "ready").mkdir()
        children = {}
        for name, checkout in checkouts.items():
            command = [str(checkout / ".venv" / "bin" / "python"), str(Path(__file__).resolve())]
            command += ["--runs", str(runs), "--sides", "kaon", "--out", f"{scratch}/{name}.json"]
            env = {**os.environ, SIDE: f"{name}:{scratch}/ready", "XDG_STATE_HOME": f"{scratch}/{name}"}
            children[name] = subprocess.Popen(command, cwd=checkout, env=env, stdout=subprocess.DEVNULL)
        failed: list[str] = []
        try:
            # Where one fails, the other would wait for it.
            while not failed and any(child.poll() is None for child in children.values()):
                time.sleep(1)
                failed = [name for name, child in children.items() if child.poll()]
        finally:
            for child in children.values():
                child.terminate()
                child.wait()
        if failed:
            raise SystemExit(f"the benchmark of {' and '.join(failed)} failed; see above")
        return {
            name: json.loads((Path(scratch) / f"{name}.json").read_text())[f"runs_{runs}"]["kaon"] for name in checkouts
        }


def _as_child(name: str, ready: Path) -> None:
    """The benchmark of the checkout in the working folder; its trial begins when the other is ready, too."""
    _import_from(Path.cwd())
    import measure

    begin, cluster = measure.trial, measure.simulated_cluster

    def trial(*args: Any, **more: Any) -> Any:
        (ready / name).touch()
        while len(list(ready.iterdir())) < len(NAMES):
            time.sleep(POLL_SECONDS)
        return begin(*args, **more)

    measure.trial = trial
    # A cluster's ports follow from its name.
    measure.simulated_cluster = lambda called, *args, **more: cluster(f"{called}-{name}", *args, **more)
    runpy.run_path("benchmarks/operator/__main__.py", run_name="__main__")


def _import_from(checkout: Path) -> None:
    """Modules come from this checkout, and not from the folder of this file, which may be in another one."""
    sys.path[:1] = [str(checkout / part) for part in ("benchmarks/operator", "hack", "hack/localcluster")]


if __name__ == "__main__":
    if SIDE in os.environ:
        side, folder = os.environ[SIDE].split(":", 1)
        _as_child(side, Path(folder))
    else:
        main()
