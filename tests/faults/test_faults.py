"""A part of the fault table: each fault at a few of the requests that it can hit, spread evenly by a printed seed.

`python tests/faults --full` takes every fault at every request, in two scenarios, and three faults in one run besides.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

from .forked import ForkServer
from .plans import FAULTS
from .stand import Ground
from .sweep import Sweep, Table

POINTS = {"write": 2, "read": 1, "watch": 1, "event": 2}
SEVERAL = 3
PARALLEL = 4


def test_whatever_goes_wrong_at_any_request_the_end_is_the_same(edited: Ground, quick_stages: None) -> None:
    seed = random.randrange(10**6)

    async def sweep() -> Table:
        async with ForkServer() as forks:
            ground = replace(edited.first(1), forks=forks)
            points = {name: 1 if fault.slow else POINTS[fault.sort] for name, fault in FAULTS.items()}
            return await Sweep("pipeline", ground, PARALLEL).table(points, seed, SEVERAL)

    table = asyncio.run(sweep())
    print(table)
    assert not table.failed, str(table)
    assert sum(row.runs for row in table.rows.values()) >= 30
