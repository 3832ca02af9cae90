"""The CRDs are what the models say, in the dialect that the API server accepts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field

from kaon.api.base import ApiModel, Rule
from kaon.api.schema import KINDS, Kind, crd, files, structural
from kaon.api.types import LARGEST

CRDS = Path(__file__).parents[3] / "crds"

Path_ = tuple[str, ...]


def nodes(schema: dict[str, Any], at: Path_ = ()) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Every schema below `schema`, with its path."""
    yield at, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, (*at, name))
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], (*at, key))


def root(kind: Kind) -> dict[str, Any]:
    schema: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


EVERY_NODE = [(f"{kind.kind}.{'.'.join(at)}", node) for kind in KINDS for at, node in nodes(root(kind))]


def test_the_committed_crds_are_what_the_models_say() -> None:
    committed = {file.name: file.read_text() for file in CRDS.glob("*.yaml")}
    assert committed == files(), "run `python -m kaon.api.schema` and commit crds/"


def test_generation_is_deterministic_and_loads_back() -> None:
    assert files() == files()
    assert [yaml.safe_load(text) for text in files().values()] == [crd(kind) for kind in KINDS]


def test_nothing_of_json_schema_is_left_that_a_structural_schema_refuses() -> None:
    for where, node in EVERY_NODE:
        assert not {"$ref", "$defs", "title", "const", "default", "allOf", "oneOf"} & node.keys(), where
        assert ("anyOf" in node) == bool(node.get("x-kubernetes-int-or-string")), where
        assert ("type" in node) != ("anyOf" in node), where
        assert not ("properties" in node and "additionalProperties" in node), where
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert node.get(bound) in (None, True), where


def test_every_list_and_every_free_map_is_bounded() -> None:
    for where, node in EVERY_NODE:
        if node.get("type") == "array":
            assert "maxItems" in node, where
        if "additionalProperties" in node:
            assert "maxProperties" in node, where


def test_every_number_is_one_that_every_reader_of_json_has() -> None:
    for where, node in EVERY_NODE:
        if node.get("type") in ("integer", "number") or "anyOf" in node:
            assert node["minimum"] >= -LARGEST, where
            assert node["maximum"] <= LARGEST, where


def test_nothing_is_free_of_a_schema() -> None:
    for where, node in EVERY_NODE:
        assert "x-kubernetes-preserve-unknown-fields" not in node, where
        if node.get("type") == "object" and where.partition(".")[2] != "metadata":
            assert node.get("properties") or node.get("additionalProperties"), where


def test_the_keys_of_a_list_map_are_required_because_they_have_no_default() -> None:
    for where, node in EVERY_NODE:
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], where


def models(model: type[ApiModel]) -> Iterator[type[ApiModel]]:
    yield model
    for field in model.model_fields.values():
        for inner in re.findall(r"kaon\.api\.(\w+)\.(\w+)", repr(field.annotation)):
            module = __import__(f"kaon.api.{inner[0]}", fromlist=[inner[1]])
            found = getattr(module, inner[1], None)
            if isinstance(found, type) and issubclass(found, ApiModel):
                yield from models(found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_rule_of_a_model_stands_in_its_crd(kind: Kind) -> None:
    declared = {rule for part in (kind.spec, kind.status) for model in models(part) for rule in model.cel_rules}
    written = {
        Rule(**rule) for _, node in nodes(root(kind)) for rule in node.get("x-kubernetes-validations", ())
    } - set(kind.rules)
    assert written == declared


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_printer_column_shows_a_field_that_exists(kind: Kind) -> None:
    known = {".".join(at) for at, _ in nodes(root(kind))} | {"metadata.creationTimestamp"}
    for column in kind.columns:
        path = re.sub(r"\[\?.*?\)\]", ".items", column["jsonPath"].removeprefix("."))
        assert path in known, column


def test_bounds_constants_and_optional_fields_are_translated() -> None:
    class Inner(ApiModel):
        """What the inner part is."""

        kind: Literal["One"]

    class Outer(ApiModel):
        """An example."""

        some_rate: float = Field(default=5e-5, gt=0, le=1, description="How fast.")
        maybe: Inner | None = None
        mode: Literal["a", "b"] = "a"

    assert structural(Outer) == {
        "description": "An example.",
        "type": "object",
        "properties": {
            "someRate": {
                "description": "How fast. Default: 0.00005.",
                "type": "number",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
            },
            "maybe": {
                "description": "What the inner part is.",
                "type": "object",
                "required": ["kind"],
                "properties": {"kind": {"type": "string", "enum": ["One"]}},
            },
            "mode": {"description": "Default: a.", "type": "string", "enum": ["a", "b"]},
        },
    }


def test_a_modeldeployment_can_be_scaled() -> None:
    subresources = {kind.kind: crd(kind)["spec"]["versions"][0]["subresources"] for kind in KINDS}
    assert all("status" in found for found in subresources.values())
    assert [kind for kind, found in subresources.items() if "scale" in found] == ["ModelDeployment"]
