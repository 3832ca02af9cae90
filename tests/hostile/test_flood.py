"""Hostile inputs at a reduced size; in full: `python tests/hostile --count 10000`. KAON_HOSTILE_SEED replays a run."""

from __future__ import annotations

import os

from hostile.cases import make
from hostile.kept import kept
from hostile.run import WAIT_SECONDS, run
from hostile.world import World, running

COUNT = 1500
SEED = int(os.environ.get("KAON_HOSTILE_SEED", "20"))


def test_each_input_is_refused_or_answered_and_nobody_else_suffers(hostile_world: World) -> None:
    print(f"KAON_HOSTILE_SEED={SEED}")
    with running(hostile_world) as operator:
        report = run(hostile_world, operator, (make(SEED, index) for index in range(COUNT)))
    print(report)
    assert report.wrong == [], "\n".join(report.wrong)
    assert len(report.result.tally.verdicts) == COUNT


def test_memory_does_not_grow_with_what_is_kept_and_nobody_else_waits(hostile_world: World) -> None:
    """At a reduced size; in full: `python tests/hostile --kept`."""
    seen = kept(hostile_world, resources=120, maps=60)
    print(seen)
    # Other tests run on the same machine: no bound of time but that of the test above.
    assert seen.wrong(WAIT_SECONDS) == []
