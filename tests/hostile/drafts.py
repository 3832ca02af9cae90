"""What the classes of hostile inputs are drawn with. Pure."""

from __future__ import annotations

import json
import random
from typing import Any

from hostile.schema import API_VERSION, Kind, Object, replaced
from hostile.values import draw_spec

JSON = "application/json"
YAML = "application/yaml"
RAW = "%RAW%"
"""Stands for bytes that no JSON writer would write."""

Draft = dict[str, Any]
"""The fields of a Case that differ from their defaults."""


def object_of(kind: Kind, name: str, spec: Any, **metadata: Any) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": name, **metadata}, "spec": spec}


def json_of(obj: Any) -> bytes:
    return json.dumps(obj, ensure_ascii=False).encode("utf-8", "surrogatepass")


def with_value(obj: Object, path: tuple[str | int, ...], value: Any) -> Draft:
    return {"body": json_of(replaced(obj, path, value))}


def valid_object(kind: Kind, name: str, rng: random.Random, often: float = 0.35) -> Object:
    return object_of(kind, name, draw_spec(kind.name, kind.spec, rng, often))
