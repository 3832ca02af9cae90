"""Whether an observed object already is what is wanted. Pure.

Server-side apply adds defaults and other managers' fields, so that "is what is wanted" means: every wanted field is
there with the wanted value.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from kaon.api.quantity import amount
from kaon.controllers.base import Object

APPLIED = "kaon.dev/applied"
"""Annotation: the hash of the manifest as last applied. It tells, also after a restart, that a field was dropped."""

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ownerReferences": "uid",
}
"""Lists that several managers may share, with the field that tells their items apart. All others are one value."""
_QUANTITIES = frozenset({"limits", "requests", "sizeLimit"})


def manifest_hash(manifest: Object) -> str:
    """A short hash of a manifest."""
    return hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def contains(observed: Any, wanted: Any, field: str = "", quantities: bool = False) -> bool:
    """Whether `observed` has every field of `wanted` with an equal value."""
    quantities = quantities or field in _QUANTITIES
    if isinstance(wanted, dict):
        if not isinstance(observed, dict):
            return not wanted and observed is None
        return all(contains(observed.get(name), value, name, quantities) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return _contains_list(observed, wanted, field, quantities)
    if observed is None:
        # The API server leaves empty values out.
        return wanted is None or wanted is False or wanted == ""
    return bool(observed == wanted) or (quantities and _same_quantity(observed, wanted))


def _contains_list(observed: Any, wanted: Any, field: str, quantities: bool) -> bool:
    if not isinstance(observed, list):
        return not wanted and observed is None
    merge_key = _MERGE_KEYS.get(field)
    if merge_key is None:
        return len(observed) == len(wanted) and all(
            contains(one, other, "", quantities) for one, other in zip(observed, wanted, strict=True)
        )
    found = {item.get(merge_key): item for item in observed}
    return all(contains(found.get(item.get(merge_key)), item, "", quantities) for item in wanted)


def _same_quantity(one: Any, other: Any) -> bool:
    # The API server writes 0.5 CPU as 500m and 1024Mi as 1Gi.
    try:
        return amount(one) == amount(other)
    except (ValueError, KeyError):
        return False
