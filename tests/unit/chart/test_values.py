"""Values, their schema and their documentation are one list."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "kaon"
sys.path.insert(0, str(ROOT / "charts"))

import generate  # noqa: E402

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def leaves(values: dict[str, Any], at: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


def test_the_schema_takes_the_defaults() -> None:
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize("name", ["", *sorted({leaf.rpartition(".")[0] for leaf in leaves(VALUES)} - {""})])
def test_the_schema_refuses_a_value_that_does_not_exist(name: str) -> None:
    values = copy.deepcopy(VALUES)
    at = values
    for part in filter(None, name.split(".")):
        at = at[part]
    if name.endswith(("labels", "requests", "limits")):
        at["free"] = {"these": "maps take any name, but only plain values"}
    else:
        at["noSuchValue"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, SCHEMA)


def test_every_value_is_documented() -> None:
    documented = [name for name, _, _ in generate.documented((CHART / "values.yaml").read_text())]
    assert len(documented) == len(set(documented))
    for leaf in leaves(VALUES):
        assert any(leaf == name or leaf.startswith(f"{name}.") for name in documented), leaf


def test_documented_defaults_are_the_defaults() -> None:
    for name, default, _ in generate.documented((CHART / "values.yaml").read_text()):
        value: Any = VALUES
        for part in name.split("."):
            value = value[part]
        if default != "see values.yaml":
            assert yaml.safe_load(default) == value, name


def test_derived_files_that_need_no_helm_are_up_to_date() -> None:
    for file, text in generate.sources().items():
        assert file.read_text() == text, f"{file} is stale: run `python charts/generate.py`"


def test_chart_app_and_package_have_one_version() -> None:
    from kaon import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert chart["version"] == __version__
