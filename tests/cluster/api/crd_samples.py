"""Minimal valid resources, and ways to break them one bound at a time. Derived from the CRDs' own schemas. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rule_samples import MINIMAL, Object

from kaon.api.schema import KINDS, Kind, crd
from kaon.api.types import (
    DNS_LABEL,
    DNS_SUBDOMAIN,
    LABEL_KEY,
    LABEL_VALUE,
    MODEL_URI,
    QUANTITY,
    SHA256,
    SOURCE_URI,
    STORE_URI,
)

Schema = dict[str, Any]

USER_KINDS = tuple(kind for kind in KINDS if kind.kind != "Report")

_MATCHING = {
    DNS_LABEL: "a",
    DNS_SUBDOMAIN: "a",
    LABEL_KEY: "a",
    LABEL_VALUE: "a",
    SHA256: "sha256:" + "0" * 64,
    STORE_URI: "s3://bucket/folder",
    MODEL_URI: "s3://bucket/model",
    SOURCE_URI: "s3://bucket/file",
    QUANTITY: "1",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "A",
}
# What the schema alone does not say, because a CEL rule does.
_BY_NAME: dict[str, Any] = {"mountPath": "/mnt/data"}
_BY_OBJECT = {"steps": {"optimize": "transformer-fusion"}, "budget": {"maxDrop": {"accuracy": 0.01}}}


@dataclass(frozen=True)
class Broken:
    """A resource with one value outside its bounds, and what the API server says about it."""

    kind: str
    field: str
    bound: str
    spec: Object
    says: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.field}-{self.bound}"


def schema_of(kind: Kind) -> Schema:
    """The schema of a kind's spec."""
    root: Schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec: Schema = root["properties"]["spec"]
    return spec


def sample(schema: Schema, name: str = "") -> Any:
    """A minimal valid value."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name in _BY_OBJECT and schema["type"] == "object":
        return copy.deepcopy(_BY_OBJECT[name])
    if "enum" in schema:
        return schema["enum"][0]
    if "pattern" in schema:
        return _MATCHING[schema["pattern"]]
    match schema.get("type"):
        case "string":
            return "a"
        case "boolean":
            return True
        case "integer" | "number":
            low = schema.get("minimum", 0)
            return low + (schema.get("maximum", low + 2) - low) / 2 if schema.get("exclusiveMinimum") else low
        case "array":
            return [sample(schema["items"], name) for _ in range(schema.get("minItems", 0))]
        case _:
            properties = schema.get("properties", {})
            return {key: sample(properties[key], key) for key in schema.get("required", ())}


def every_bound(kind: Kind) -> Iterator[Broken]:
    """The kind's minimal resource, broken at each bound of each field in turn."""
    for path, schema in _fields(schema_of(kind), ()):
        for bound, value, says in _outside(schema, path[-1]):
            yield Broken(kind.kind, _text(path), bound, _with(kind, path, value), says)
        for missing in schema.get("required", ()) if schema.get("type") == "object" else ():
            value = sample(schema, path[-1])
            value.pop(missing, None)
            yield Broken(kind.kind, f"{_text(path)}.{missing}", "required", _with(kind, path, value), "Required value")
    for missing in schema_of(kind).get("required", ()):
        spec = copy.deepcopy(MINIMAL[kind.kind])
        del spec[missing]
        yield Broken(kind.kind, f"spec.{missing}", "required", spec, "Required value")


def _fields(schema: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Every field below the spec. A list's items are the step "0", a map's values the step "key"."""
    below = dict(schema.get("properties", {}))
    if "items" in schema:
        below["0"] = schema["items"]
    if "additionalProperties" in schema:
        below["key"] = schema["additionalProperties"]
    for name, child in below.items():
        yield (*path, name), child
        yield from _fields(child, (*path, name))


def _outside(schema: Schema, name: str) -> Iterator[tuple[str, Any, str]]:
    """(bound, value, what the API server says) for each bound of one field."""
    if "enum" in schema:
        yield "enum", "no-such-value", "Unsupported value"
    if "pattern" in schema:
        yield "pattern", " ", "should match"
    if "maxLength" in schema:
        yield "maxLength", "a" * (schema["maxLength"] + 1), "Too long"
    if schema.get("minLength"):
        yield "minLength", "", "should be at least"
    if "minimum" in schema:
        exclusive = schema.get("exclusiveMinimum", False)
        yield "minimum", schema["minimum"] - (0 if exclusive else 1), "should be greater than"
    if "maximum" in schema:
        exclusive = schema.get("exclusiveMaximum", False)
        yield "maximum", schema["maximum"] + (0 if exclusive else 1), "should be less than"
    if "maxItems" in schema:
        items = [_numbered(sample(schema["items"], name), number) for number in range(schema["maxItems"] + 1)]
        yield "maxItems", items, "must have at most"
    if schema.get("minItems"):
        yield "minItems", [], "should have at least"
    if "maxProperties" in schema:
        value = sample(schema["additionalProperties"])
        yield (
            "maxProperties",
            {f"k{number}": value for number in range(schema["maxProperties"] + 1)},
            "must have at most",
        )
    if schema.get("type") in ("integer", "number", "boolean"):
        yield "type", "text", "Invalid value"


def _numbered(item: Any, number: int) -> Any:
    """Keys of a list map must differ, or the API server complains about that first."""
    if isinstance(item, dict) and "name" in item:
        return {**item, "name": f"a{number}"}
    return item


def _with(kind: Kind, path: tuple[str, ...], value: Any) -> Object:
    """The kind's minimal spec with `value` at `path`; what lies between is minimal too."""
    spec = copy.deepcopy(MINIMAL[kind.kind])
    at: Any = spec
    schema = schema_of(kind)
    for place, name in enumerate(path):
        last = place == len(path) - 1
        if name == "0":
            schema = schema["items"]
            if not at:
                at.append(None)
            at[0] = value if last else at[0] if at[0] is not None else sample(schema, path[place - 1])
            at = at[0]
            continue
        schema = schema["additionalProperties"] if "additionalProperties" in schema else schema["properties"][name]
        at[name] = value if last else at.get(name, sample(schema, name))
        at = at[name]
    if path[0] == "steps":
        spec["strategy"] = "steps"
    return spec


def _text(path: tuple[str, ...]) -> str:
    """The path as the API server writes it."""
    return "spec" + "".join("[0]" if name == "0" else f".{name}" for name in path)
