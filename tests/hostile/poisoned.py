"""The operator with Kaon's own controllers, of which some resources break plan() or references(): see WAYS.

A resource is poisoned by its spec.rerun: a key of WAYS. All others are planned as always.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from kaon.controllers.base import Child, Controller, Key, Object, Observed, Plan
from kaon.controllers.registry import CONTROLLERS
from kaon.engine.main import main


def _raise(error: BaseException) -> Plan:
    raise error


def _recurse(observed: Observed) -> Plan:
    return _recurse(observed)


def _block(observed: Observed) -> Plan:
    time.sleep(0.2)
    raise TimeoutError("it took too long")


WAYS: dict[str, Callable[[Observed], Plan]] = {
    "raise": lambda observed: _raise(ValueError("told to raise")),
    "recursion": _recurse,
    "memory": lambda observed: _raise(MemoryError()),
    "assertion": lambda observed: _raise(AssertionError("told to")),
    "stop": lambda observed: _raise(StopIteration()),
    "block": _block,
    "nothing": lambda observed: None,  # type: ignore[arg-type, return-value]
    "status-of-sets": lambda observed: Plan((), {"phase": {1, 2}}),
    "status-that-is-refused": lambda observed: Plan((), {"phase": "x" * 1000}),
    "child-without-name": lambda observed: Plan((Child({"kind": "ConfigMap"}),), {}),
    "child-of-no-kind": lambda observed: Plan((Child({"kind": "Nothing", "metadata": {"name": "x"}}),), {}),
}
REFERENCES = "references"


def poisoned(controller: Controller) -> Controller:
    """A controller that breaks on poisoned resources."""

    def plan(observed: Observed) -> Plan:
        return WAYS.get(observed.obj["spec"].get("rerun", ""), controller.plan)(observed)

    def references(obj: Object) -> frozenset[Key]:
        if obj["spec"].get("rerun") == REFERENCES:
            raise KeyError("told to raise")
        return controller.references(obj)

    return replace(controller, plan=plan, references=references)


if __name__ == "__main__":
    main(sys.argv[1:], tuple(poisoned(controller) for controller in CONTROLLERS))
