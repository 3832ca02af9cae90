"""The schemas of the kinds, as the API server is given them in crds/, and places in an object. Pure but for reading."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
Object = dict[str, Any]
CRDS = Path(__file__).parents[2] / "crds"
API_VERSION = "kaon.dev/v1alpha1"


@dataclass(frozen=True)
class Kind:
    """A kind as its CustomResourceDefinition says it."""

    name: str
    plural: str
    spec: Schema
    status: Schema


@cache
def kinds() -> dict[str, Kind]:
    """Every kind of crds/, by name."""
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        spec = yaml.safe_load(file.read_text())["spec"]
        parts = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        names = spec["names"]
        found[names["kind"]] = Kind(names["kind"], names["plural"], parts["spec"], parts["status"])
    return found


def user_kinds() -> list[Kind]:
    """The kinds that people write."""
    return [kind for name, kind in kinds().items() if name != "Report"]


@dataclass(frozen=True)
class Site:
    """A value in an object, with the schema that it must meet."""

    path: tuple[str | int, ...]
    schema: Schema

    def __str__(self) -> str:
        """As the API server writes it: spec.sources[0].uri."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".")


def sites(value: Any, schema: Schema, path: tuple[str | int, ...]) -> Iterator[Site]:
    """Every value that is there and has a schema, from the outside in."""
    yield Site(path, schema)
    if isinstance(value, dict):
        for name, child in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if isinstance(below, dict):
                yield from sites(child, below, (*path, name))
    elif isinstance(value, list) and "items" in schema:
        for index, child in enumerate(value):
            yield from sites(child, schema["items"], (*path, index))


def at(obj: Any, path: tuple[str | int, ...]) -> Any:
    """The value at a path."""
    for part in path:
        obj = obj[part]
    return obj


def replaced(obj: Object, path: tuple[str | int, ...], value: Any) -> Object:
    """A copy of the object with another value at a path."""
    made = copy.deepcopy(obj)
    at(made, path[:-1])[path[-1]] = value
    return made


def fits(text: str, schema: Schema) -> bool:
    """Whether a string meets a schema's pattern and lengths."""
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 1 << 30):
        return False
    return "pattern" not in schema or re.search(schema["pattern"], text) is not None
