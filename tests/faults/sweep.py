"""Many runs: one for each fault and each request it can hit, or a part of them evenly spread; and the table of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .driver import Outcome, run
from .plans import FAULTS, Injection, Plan, Sort
from .stand import Ground

WAITING_RUNS = 8
"""How many runs that mostly wait go side by side."""
PROGRESS_SECONDS = 10.0
SEVERAL = "several"


@dataclass(slots=True)
class Row:
    """One line of the table."""

    says: str
    points: int
    runs: int = 0
    unreached: int = 0
    """Runs that came to rest before the request that was to go wrong."""
    failed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """What came of a sweep."""

    scenario: str
    seed: int
    counts: Counter[Sort]
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """One more run."""
        injections = outcome.plan.injections
        row = self.rows[injections[0].fault if len(injections) == 1 else SEVERAL]
        row.runs += 1
        row.unreached += not outcome.hit
        if outcome.problems:
            row.failed.append(str(outcome.plan))

    @property
    def failed(self) -> list[str]:
        """The plans of all runs that failed."""
        return [plan for row in self.rows.values() for plan in row.failed]

    def __str__(self) -> str:
        rows = self.rows.values()
        total = Row("", sum(row.points for row in rows), sum(row.runs for row in rows))
        total.unreached, total.failed = sum(row.unreached for row in rows), self.failed
        counts = self.counts
        lines = [
            f"scenario {self.scenario}, seed {self.seed}; a run without faults has {counts['write']} writes, "
            f"{counts['read']} reads, {counts['watch']} watches, {counts['event']} events",
            _line("fault", "what goes wrong", "points", "runs", "missed", "failed"),
            *(
                _line(name, row.says, row.points, row.runs, row.unreached, len(row.failed))
                for name, row in (*self.rows.items(), ("all", total))
            ),
        ]
        lines += [f"replay: python tests/faults --scenario {self.scenario} --replay {plan}" for plan in self.failed]
        return "\n".join(lines)


def _line(fault: str, says: str, *figures: str | int) -> str:
    return f"{fault:12} {says:52}" + "".join(f"{figure:>8}" for figure in figures)


def spread(count: int, wanted: int | None, seed: int) -> list[int]:
    """`wanted` of the numbers 1 to `count`, evenly spread from a place that the seed decides; None: all of them."""
    if wanted is None or wanted >= count:
        return list(range(1, count + 1))
    step = count / wanted
    start = random.Random(seed).random() * step
    return [int(start + number * step) + 1 for number in range(wanted)]


def combined(counts: Counter[Sort], number: int, seed: int) -> list[Plan]:
    """Plans of three faults each, chosen by the seed."""
    chosen = random.Random(seed)
    quick = [fault for fault in FAULTS.values() if not fault.slow and counts[fault.sort]]

    def one() -> Injection:
        fault = chosen.choice(quick)
        return Injection(fault.name, chosen.randint(1, counts[fault.sort]))

    return [Plan(tuple(sorted(one() for _ in range(3)))) for _ in range(number)]


class Sweep:
    """Runs of one scenario on one cluster, several at a time."""

    def __init__(self, scenario: str, ground: Ground, parallel: int, say: Callable[[str], None] = print) -> None:
        """ground: with references and counts, as `surveyed` returns it."""
        self._scenario = scenario
        self._ground = ground
        self._say = say
        self._busy = asyncio.Semaphore(parallel)
        self._waiting = asyncio.Semaphore(WAITING_RUNS)

    async def run(self, plan: Plan) -> Outcome:
        """One run, when there is room for it. What failed leaves its trace in the folder."""
        async with self._waiting if plan.slow else self._busy:
            outcome = await run(self._ground, plan)
        if outcome.problems:
            trace = self._ground.folder / f"{self._scenario}-{plan}.txt".replace(":", "-")
            trace.write_text("\n".join([*outcome.problems, "", outcome.trace]))
            self._say(f"FAILED {plan}: {'; '.join(outcome.problems[:4])[:600]}\n       trace: {trace}")
        return outcome

    async def table(self, points: Mapping[str, int | None], seed: int, several: int = 0) -> Table:
        """Each fault at so many of the requests that it can hit (None: all), and `several` runs with three faults."""
        table = Table(self._scenario, seed, self._ground.points)
        plans: list[Plan] = []
        for fault, wanted in points.items():
            count = self._ground.points[FAULTS[fault].sort]
            table.rows[fault] = Row(FAULTS[fault].says, count)
            plans += [Plan.of(fault, at) for at in spread(count, wanted, seed)]
        if several:
            table.rows[SEVERAL] = Row("three of these in one run, chosen by the seed", several)
            plans += combined(self._ground.points, several, seed)
        await self._all(plans, table)
        return table

    async def _all(self, plans: Sequence[Plan], table: Table) -> None:
        began = said = time.monotonic()
        # Those that mostly wait begin at once, beside the others.
        tasks = [asyncio.create_task(self.run(plan)) for plan in sorted(plans, key=lambda plan: not plan.slow)]
        for done, task in enumerate(asyncio.as_completed(tasks), 1):
            table.add(await task)
            now = time.monotonic()
            if now - said > PROGRESS_SECONDS or done == len(plans):
                said = now
                left = (now - began) / done * (len(plans) - done)
                self._say(f"{done}/{len(plans)} runs, {len(table.failed)} failed, {left / 60:.0f} min left")
