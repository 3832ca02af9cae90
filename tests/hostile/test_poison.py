"""One poisoned resource never blocks another, whatever it does to the code that plans it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from harness import OperatorProcess, eventually
from hostile.poisoned import REFERENCES, WAYS
from hostile.world import CANARIES, World, resource, running

PROGRAM = [str(Path(__file__).with_name("poisoned.py"))]
POISONS = (*WAYS, REFERENCES)
SECONDS = 10.0


def poison(way: str, number: int = 0) -> dict[str, Any]:
    return resource("Dataset", f"poison-{way[:20]}-{number}", CANARIES, rerun=way)


@pytest.fixture
def emptied(hostile_world: World) -> Any:
    """The namespace of these tests, empty afterwards."""
    yield hostile_world
    hostile_world.kubectl("delete", "datasets", "--all", "-n", CANARIES)


def seconds_to_status(world: World, name: str) -> float:
    began = time.monotonic()
    world.kubectl.apply(resource("Dataset", name, CANARIES, suspend=True))
    eventually(lambda: (world.kubectl.get("dataset", name, CANARIES) or {}).get("status"), f"a status of {name}", 60)
    return time.monotonic() - began


def restarts(operator: OperatorProcess) -> bool:
    return operator.process.poll() is not None


@pytest.mark.parametrize("way", POISONS)
def test_a_healthy_resource_is_served_beside_a_poisoned_one(emptied: World, way: str) -> None:
    emptied.kubectl.apply(poison(way))
    with running(emptied, "--workers", "1", program=PROGRAM) as operator:
        # There before the operator, and made while it runs.
        assert seconds_to_status(emptied, "well") < SECONDS, operator.log[-3000:]
        emptied.kubectl.apply(poison(way, 1))
        assert seconds_to_status(emptied, "well-too") < SECONDS, operator.log[-3000:]
        assert not restarts(operator) and operator.probe("/healthz")[0] == 200


def test_a_hundred_poisoned_resources_slow_nobody_down_and_can_be_deleted(emptied: World) -> None:
    # Those that hold the event loop itself are tried one at a time, above.
    ways = [way for way in POISONS if way not in ("block", "recursion")]
    emptied.kubectl.apply(*(poison(ways[number % len(ways)], number) for number in range(100)))
    with running(emptied, program=PROGRAM) as operator:
        assert seconds_to_status(emptied, "well") < SECONDS
        emptied.kubectl("delete", "datasets", "--all", "-n", CANARIES, "--timeout=30s")
        eventually(lambda: operator.metric("kaon_queue_depth") == 0, "an empty queue", 60)
        assert seconds_to_status(emptied, "well-too") < SECONDS
        assert not restarts(operator), operator.log[-3000:]


def test_a_poisoned_resource_is_healed_by_an_edit(emptied: World) -> None:
    with running(emptied, program=PROGRAM) as operator:
        emptied.kubectl.apply(poison("raise"))
        name = poison("raise")["metadata"]["name"]
        eventually(lambda: "told to raise" in operator.log, "the failure in the log")
        patch = json.dumps({"spec": {"rerun": "well"}})
        emptied.kubectl("patch", "dataset", name, "-n", CANARIES, "--type=merge", "-p", patch)
        eventually(lambda: (emptied.kubectl.get("dataset", name, CANARIES) or {}).get("status"), "a status")
