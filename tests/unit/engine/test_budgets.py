"""The budgets of an installation: from the Helm values to the stages, with a sentence for what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from knownkeys import ROOT_KEY

from kaon.contract.budgets import Budgets
from kaon.engine.options import operator_config, parse

ROOT = Path(__file__).parents[3]


def budgets(text: str) -> Budgets | None:
    return operator_config(parse([f"--budgets={text}"], {}), ROOT_KEY).budgets


def test_what_is_left_out_is_kaons_own() -> None:
    assert budgets('{"rows": 5}') == Budgets(rows=5)
    assert budgets("{}") is None and operator_config(parse([], {}), ROOT_KEY).budgets is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"row": 5}', "no budget is called row"),
        ('{"rows": 0}', "whole numbers above 0"),
        ("[]", "not a JSON object"),
        ("five", "not a JSON object"),
    ],
)
def test_what_is_no_budget_ends_the_operator_with_a_sentence(
    text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        budgets(text)
    assert said in capsys.readouterr().err


def test_the_chart_knows_every_budget_and_no_other() -> None:
    schema = json.loads((ROOT / "charts/kaon/values.schema.json").read_text())
    assert sorted(schema["properties"]["budgets"]["properties"]) == sorted(Budgets().wire())


def test_every_budget_is_documented_with_its_default() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    defaults: dict[str, Any] = Budgets().wire()
    for name, default in defaults.items():
        assert f"| `budgets.{name}` | {default:,} |" in page
