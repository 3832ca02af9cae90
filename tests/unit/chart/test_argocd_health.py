"""What Argo CD shows for each state of a Kaon resource: the shipped Lua, in the Lua version that Argo CD runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lupa.lua51
import pytest
import yaml

from kaon.api import conditions as c
from kaon.controllers.conditions import State, conditions_of

ARGOCD = Path(__file__).parents[3] / "examples" / "argocd"
SCRIPT = (ARGOCD / "health.lua").read_text()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """(status, message) of Argo CD for an object."""
    lua = lupa.lua51.LuaRuntime()
    run = lua.eval("function(source, value) obj = value; return loadstring(source)() end")
    answer = run(SCRIPT, lua.table_from(obj, recursive=True))
    return answer["status"], answer["message"]


def resource(state: State | None, generation: int = 2, observed: int = 2) -> dict[str, Any]:
    """A resource whose conditions are made by the controllers' own code."""
    obj: dict[str, Any] = {"metadata": {"name": "x", "generation": generation}}
    if state is not None:
        made = conditions_of(state, {}, observed, NOW)
        obj["status"] = {"observedGeneration": observed, "conditions": made}
    return obj


WAITING = State("Waiting", c.REFERENCE_NOT_FOUND, "Dataset x does not exist")
RUNNING = State("Running", c.RUNNING, "training: 40 %")
DONE = State("Succeeded", c.SUCCEEDED, "accuracy 0.97", ready=True)
FAILED = State("Failed", c.GATE_FAILED, "accuracy 0.91 is below 0.94", stalled=True)
SUSPENDED = State("Suspended", c.SUSPENDED, "spec.suspend is true", quiet=True)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (WAITING, "Progressing"),
        (RUNNING, "Progressing"),
        (DONE, "Healthy"),
        (FAILED, "Degraded"),
        (SUSPENDED, "Suspended"),
    ],
    ids=lambda value: value.phase if isinstance(value, State) else "",
)
def test_each_state_has_its_health_and_its_sentence(state: State, expected: str) -> None:
    assert health(resource(state)) == (expected, state.message)


def test_a_resource_that_the_operator_has_not_seen_is_progressing() -> None:
    assert health(resource(None)) == ("Progressing", "Waiting for the operator")
    assert health(resource(None) | {"status": {}}) == ("Progressing", "Waiting for the operator")


@pytest.mark.parametrize("state", [DONE, FAILED], ids=["done", "failed"])
def test_an_edit_is_progressing_until_the_operator_has_seen_it(state: State) -> None:
    assert health(resource(state, generation=3)) == ("Progressing", "Waiting for the operator to see the new spec")


def test_the_configuration_has_the_script_for_each_kind() -> None:
    data = yaml.safe_load((ARGOCD / "argocd-cm.yaml").read_text())["data"]
    kinds = ("Dataset", "TrainingRun", "CompressionJob", "ModelDeployment")
    assert data == {f"resource.customizations.health.kaon.dev_{kind}": SCRIPT for kind in kinds}
