"""Hostile inputs against a real API server and the real operator: `python tests/hostile [--count N] [--seed S]`.

One input again: `--seed S --index I` (with `--print`: only shows it). Exit code 1 when anything is not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tests/cluster", "hack", "hack/localcluster")]

from hostile.cases import Case, make  # noqa: E402
from hostile.kept import kept  # noqa: E402
from hostile.run import Report, against  # noqa: E402
from hostile.world import make_ready, running, world  # noqa: E402

PROGRESS_SECONDS = 10.0
KEPT_SECONDS = 2.0
"""How long a resource that is well may wait for its first status beside those that are kept."""


def main() -> int:
    """Send, look, tell."""
    parser = argparse.ArgumentParser(prog="python tests/hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many inputs (default: 10,000)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument("--index", type=int, help="this input alone")
    parser.add_argument("--print", action="store_true", help="with --index: show the input and send nothing")
    parser.add_argument("--kept", action="store_true", help="instead: 2,000 of the largest resources, all kept")
    options = parser.parse_args()
    if options.kept:
        with world(f"kept-{os.getpid()}") as found:
            seen = kept(found, resources=2000, maps=500)
        print(seen, *seen.wrong(KEPT_SECONDS), sep="\n")
        return 1 if seen.wrong(KEPT_SECONDS) else 0
    print(f"seed {options.seed}", flush=True)
    indexes = range(options.count) if options.index is None else [options.index]
    if options.index is not None:
        show(make(options.seed, options.index))
        if options.print:
            return 0
    with world(f"hostile-{os.getpid()}") as found, running(found) as operator:
        make_ready(found.kubectl)
        cases = (make(options.seed, index) for index in indexes)
        report: Report = asyncio.run(against(found, operator, with_progress(cases, len(indexes))))
    print(report)
    if options.index is not None:
        print(*report.result.tally.verdicts, sep="\n")
    return 1 if report.wrong else 0


def with_progress(cases: Iterable[Case], count: int) -> Iterator[Case]:
    """The inputs as they are asked for; how far they are is told now and then."""
    began = told = time.monotonic()
    for sent, case in enumerate(cases):
        now = time.monotonic()
        if now - told >= PROGRESS_SECONDS:
            rate, told = sent / (now - began), now
            left = (count - sent) / rate
            print(f"{sent:>6} of {count} ({sent / count:.0%}), {rate:.0f} a second, {left:.0f} s left", flush=True)
        yield case


def show(case: Case) -> None:
    """The input for people; a long one is cut."""
    text = case.body.decode(errors="backslashreplace")
    print(f"{case.klass}, {case.kind} {case.name}, {case.what}; {case.media}, expected: {case.expects} {case.field}")
    print(text if len(text) < 4000 else f"{text[:2000]}\n… {len(text)} characters …\n{text[-500:]}")
    if case.report:
        print(f"Report: {case.report.decode(errors='backslashreplace')[:4000]}")


if __name__ == "__main__":
    sys.exit(main())
