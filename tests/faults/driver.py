"""One run: the scenario in a namespace of its own, by an operator of its own through a proxy of its own, and its judge.

A run is good when each step ends in the state in which it ended without faults, each Job was created once, no two Jobs
of one digest lived at the same time, and the operator is silent in the end and dies only when it is killed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace

from .plans import Plan, Sort
from .stand import Ground, Stand
from .state import State, differences


class Unequal(Exception):
    """Runs without faults are not all alike: nothing can be compared with them."""


@dataclass(slots=True)
class Outcome:
    """What became of a run."""

    plan: Plan
    seconds: float = 0.0
    hit: bool = True
    """Whether all of the plan came to pass."""
    problems: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    counts: list[Counter[Sort]] = field(default_factory=list)
    """The state and the number of requests after each step."""
    trace: str = ""


async def run(ground: Ground, plan: Plan) -> Outcome:
    """One run. Raises nothing for what the operator does."""
    began = time.monotonic()
    async with Stand(ground, plan) as stand:
        for number, step in enumerate(ground.steps):
            await stand.act(step)
            if not await stand.rests(number):
                break
        hit = len(stand.proxy.hits) == len(plan.injections)
        problems, trace = stand.judge(), stand.trace()
    return Outcome(plan, time.monotonic() - began, hit, problems, stand.states, stand.counts, trace)


async def surveyed(ground: Ground) -> Ground:
    """The ground with the states that two runs without faults end in.

    Raises:
        Unequal: one of them failed, or they end differently.
    """
    one, other = await asyncio.gather(run(ground, Plan()), run(ground, Plan()))
    problems = [*one.problems, *other.problems]
    if not problems:
        problems = [line for a, b in zip(one.states, other.states, strict=True) for line in differences(a, b)]
    if problems:
        raise Unequal("\n".join([*problems, "", one.trace, "", other.trace]))
    counts = tuple(a | b for a, b in zip(one.counts, other.counts, strict=True))
    return replace(ground, references=tuple(one.states), counts=counts)
