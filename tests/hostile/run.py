"""A whole run against an operator, and everything that must hold at its end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from harness import OperatorProcess
from hostile.cases import Case
from hostile.flood import Result, flood
from hostile.world import World, complaints, metrics

WAIT_SECONDS = 10.0
MOST_MEGABYTES = 300.0
QUIET_SECONDS = 60.0
SHOWN = 40
DEEPEST = 50_000
"""Of this program, so that it can read what the API server took: that reads JSON of 10,000 levels."""


@dataclass(frozen=True)
class Report:
    """What was seen, and what of it is wrong."""

    result: Result
    outcomes: dict[str, float]
    wrong: list[str]

    def __str__(self) -> str:
        lines = [str(self.result), "reconciles: " + ", ".join(f"{n} {c:.0f}" for n, c in self.outcomes.items() if c)]
        lines += [f"{len(self.wrong)} wrong", *self.wrong[:SHOWN]] if self.wrong else ["nothing is wrong"]
        return "\n".join(lines)


async def against(world: World, operator: OperatorProcess, cases: Iterable[Case]) -> Report:
    """Flood an operator that runs."""
    sys.setrecursionlimit(DEEPEST)
    before = metrics(operator)
    result = await flood(world, operator, cases)
    wrong = [str(problem) for problem in result.tally.problems]
    wrong += _of_the_operator(operator, before, result)
    wrong += _of_the_others(result)
    return Report(result, metrics(operator), wrong)


def _of_the_operator(operator: OperatorProcess, before: dict[str, float], result: Result) -> list[str]:
    wrong = []
    if operator.process.poll() is not None:
        return [f"the operator ended with {operator.process.returncode}: {operator.log[-2000:]}"]
    if not _comes_to_rest(operator):
        wrong.append(f"the queue is not empty after {QUIET_SECONDS:.0f} s: {operator.metric('kaon_queue_depth')} wait")
    if operator.probe("/healthz")[0] != 200:
        wrong.append(f"the operator is not healthy: {operator.probe('/healthz')[1]}")
    after = metrics(operator)
    for outcome in ("error", "refused"):
        if after[outcome] > before[outcome]:
            wrong.append(f"{after[outcome] - before[outcome]:.0f} reconciles ended with {outcome!r}")
    cases = {verdict.case.name: verdict.case for verdict in result.tally.verdicts}
    for name, line in complaints(operator).items():
        wrong.append(f"{line}\n    {cases[name].what}: {cases[name].again}" if name in cases else f"{name}: {line}")
    return wrong


def _comes_to_rest(operator: OperatorProcess) -> bool:
    deadline = time.monotonic() + QUIET_SECONDS
    while operator.metric("kaon_queue_depth") > 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _of_the_others(result: Result) -> list[str]:
    late = [f"{seconds:.1f} s" for seconds in result.flooded if seconds > WAIT_SECONDS]
    wrong = [f"resources that are well waited for their first status for {', '.join(late)}"] if late else []
    if not result.flooded:
        wrong.append("no resource that is well was made meanwhile")
    if max(result.memory) > MOST_MEGABYTES:
        wrong.append(f"the operator took {max(result.memory):.0f} MB")
    return wrong


def run(world: World, operator: OperatorProcess, cases: Iterable[Case]) -> Report:
    """`against` for those who have no event loop."""
    return asyncio.run(against(world, operator, cases))
