"""The models refuse what the API server refuses, with the same sentence: an object may be older than its CRD."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from rule_samples import MINIMAL, REFUSED_URIS, RULES, TAKEN_FIELDS, TAKEN_URIS, TEMPLATES, URIS, broken, placed

from kaon.api.quantity import amount
from kaon.api.schema import KINDS

SPECS = {kind.kind: kind.spec for kind in KINDS}


def refusal(kind: str, spec: dict[str, Any]) -> str:
    try:
        SPECS[kind].model_validate(spec)
    except ValidationError as error:
        return "; ".join(item["msg"] for item in error.errors())
    return ""


@pytest.mark.parametrize("kind", MINIMAL)
def test_the_minimal_spec_is_taken(kind: str) -> None:
    assert refusal(kind, MINIMAL[kind]) == ""


@pytest.mark.parametrize(("kind", "fields", "message"), RULES)
def test_a_broken_rule_is_refused_with_its_own_sentence(kind: str, fields: dict[str, Any], message: str) -> None:
    assert message in refusal(kind, broken(kind, fields))


@pytest.mark.parametrize(("kind", "fields"), TAKEN_FIELDS)
def test_fields_that_break_no_rule_are_taken(kind: str, fields: dict[str, Any]) -> None:
    assert refusal(kind, broken(kind, fields)) == ""


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_good_pod_template_is_taken(template: dict[str, Any]) -> None:
    for kind in MINIMAL:
        assert refusal(kind, broken(kind, {"podTemplate": template})) == ""


@pytest.mark.parametrize(("kind", "path"), URIS)
def test_only_stores_and_mounted_claims_have_data(kind: str, path: tuple[str | int, ...]) -> None:
    for uri in TAKEN_URIS:
        assert refusal(kind, placed(kind, path, uri)) == ""
    for uri in REFUSED_URIS:
        assert "should match" in refusal(kind, placed(kind, path, uri)), uri


@pytest.mark.parametrize(
    ("quantity", "number"), [("1.5Gi", 1610612736), (3, 3), ("500m", 0.5), ("2k", 2000), ("1P", 10**15), ("0", 0)]
)
def test_a_quantity_is_worth_its_number(quantity: str | int, number: float) -> None:
    assert amount(quantity) == pytest.approx(number)


def test_a_feature_that_stands_twice_is_refused() -> None:
    features = [{"name": name, "type": "number"} for name in ("age", "height", "age")]
    fields = {"task": "tabular-regression", "schema": {"features": features, "label": {"name": "label"}}}
    assert "the column 'age' stands in features more than once" in refusal("Dataset", broken("Dataset", fields))
