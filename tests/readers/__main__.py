"""Damaged files against the real readers: `python tests/readers [--count N] [--seed S]`.

One input again: `--seed S --index I`. Exit code 1 when any is neither read right nor refused with its file and place.
Batches run in processes of their own, so that a crash of a library is told and not suffered.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from readers.inputs import make
from readers.judge import WRONG, judge

BATCH = 100
MAX_RESIDENT_KIB = 1024 * 1024


def main() -> int:
    """Make, read, tell."""
    parser = argparse.ArgumentParser(prog="python tests/readers", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="how many inputs (default: 5,000)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: any")
    parser.add_argument("--index", type=int, help="this input alone, and show it")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    if options.index is not None:
        return _one(options.seed, options.index)
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    wrong = 0
    context = multiprocessing.get_context("fork")
    for first in range(0, options.count, BATCH):
        indexes = range(first, min(first + BATCH, options.count))
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_batch, args=(options.seed, indexes, sender))
        process.start()
        sender.close()
        done = first
        while True:
            try:
                index, kind, outcome, sentence = receiver.recv()
            except EOFError:
                break
            done = index + 1
            outcomes[f"{kind} {outcome}"] += 1
            if outcome == WRONG:
                wrong += 1
                print(f"{index}: {sentence}", flush=True)
        process.join()
        if process.exitcode:
            wrong += 1
            print(f"{done}: the process ended with {process.exitcode}", flush=True)
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(outcomes.items())))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"{outcomes.total():,} inputs in {time.monotonic() - began:.0f} s, {wrong} wrong, at most {peak // 1024} MiB")
    return int(bool(wrong) or outcomes.total() < options.count or peak > MAX_RESIDENT_KIB)


def _batch(seed: int, indexes: range, sender: object) -> None:
    with tempfile.TemporaryDirectory(prefix="kaon-readers-") as folder:
        for index in indexes:
            one = make(seed, index)
            outcome, sentence = judge(one, Path(folder) / "one")
            sender.send((index, one.name.split(".", 1)[1], outcome, f"{one.name} {one.damage} {one.codec}: {sentence}"))
    os._exit(0)


def _one(seed: int, index: int) -> int:
    one = make(seed, index)
    with tempfile.TemporaryDirectory(prefix="kaon-readers-") as folder:
        outcome, sentence = judge(one, Path(folder) / "one")
    print(f"{one.name}, written in {one.codec}, damage: {one.damage}, {one.changes}, {len(one.rows)} rows")
    print(one.data)
    print(f"{outcome}: {sentence}")
    return int(outcome == WRONG)


if __name__ == "__main__":
    sys.exit(main())
