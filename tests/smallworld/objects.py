"""Every object that a world ever holds, under a number of its own: equal objects have equal numbers. No I/O.

States are made of these numbers, so that a state is small, and comparing two of them is cheap and exact. There are two
times only: NOW, which is always the present, and LONG_AGO; `aged` leads from one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from kaon.controllers.base import Key, Object, key_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_TEXT = "2026-01-01T00:00:00Z"
LONG_AGO_TEXT = "2025-01-01T00:00:00Z"
"""Longer ago than any time that a controller waits for."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What the cache and the API server want to know of an object, without looking into it."""

    key: Key
    uid: str
    owner: Key | None
    owner_uid: str


def canonical(value: Any) -> bytes:
    """The one text of a JSON value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class Objects:
    """Numbers for objects and for other JSON values. 0 stands for none."""

    def __init__(self, *, starts: bool = False) -> None:
        """starts: whether it matters how long ago something began."""
        self._starts = starts
        self._numbers: dict[bytes, int] = {}
        self._texts: list[bytes] = [b"null"]
        self._values: list[Any] = [None]
        self._facts: dict[int, Fact] = {}
        self._aged: dict[int, int] = {0: 0}

    def number(self, value: Any) -> int:
        """The number of a JSON value. The value is copied."""
        return self._of(canonical(value))

    def __getitem__(self, number: int) -> Any:
        """The value; shared, so not to be changed."""
        return self._values[number]

    def copy(self, number: int) -> Any:
        """A copy of the value that may be changed."""
        return orjson.loads(self._texts[number])

    def unchanged(self, number: int) -> bool:
        """Whether nobody has changed the shared value."""
        return canonical(self._values[number]) == self._texts[number]

    def fact(self, number: int) -> Fact:
        """What is known of the object with this number."""
        found = self._facts.get(number)
        if found is None:
            found = self._facts[number] = _fact(self._values[number])
        return found

    def aged(self, number: int) -> int:
        """The same object or status, long after, as far as anybody looks at how long ago something was."""
        found = self._aged.get(number)
        if found is None:
            value = _aged(self._values[number])
            found = self._aged[number] = self.number(_begun_long_ago(value) if self._starts else value)
        return found

    def _of(self, text: bytes) -> int:
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self._texts)
            self._texts.append(text)
            self._values.append(orjson.loads(text))
        return found


def _aged(value: Any) -> Any:
    """With what is waited upon long ago: when a Job began and ended, since when a Deployment is and a revision retires.

    All other times are copied and told, and nothing follows from them: in these worlds they stand still.
    """
    match value:
        case {"kind": "Job", "status": {"conditions": [{"type": "Complete"} as ended]} as status}:
            return {**value, "status": {**status, "conditions": [{**ended, "lastTransitionTime": LONG_AGO_TEXT}]}}
        case {"kind": "Deployment", "metadata": {"creationTimestamp": _}}:
            return {**value, "metadata": {**value["metadata"], "creationTimestamp": LONG_AGO_TEXT}}
        case {"kind": "ModelDeployment", "status": status}:
            return {**value, "status": _aged(status)}
        case {"retiring": retiring, "phase": _}:
            return {**value, "retiring": {**retiring, "since": LONG_AGO_TEXT}}
    return value


def _begun_long_ago(value: Any) -> Any:
    """With every beginning long ago: a Job's, and what is copied from it. A result is signed, and stays as it is."""
    if not isinstance(value, dict) or "result" in value or "reused" in value:
        return value
    return {
        name: LONG_AGO_TEXT if name == "startTime" else _begun_long_ago(item) if name == "status" else item
        for name, item in value.items()
    }


def _fact(obj: Object) -> Fact:
    meta: Mapping[str, Any] = obj["metadata"]
    owner = next((ref for ref in meta.get("ownerReferences", ()) if ref.get("controller")), None)
    if owner is None:
        return Fact(key_of(obj), meta.get("uid", ""), None, "")
    key = Key(owner["kind"], meta["namespace"], owner["name"])
    return Fact(key_of(obj), meta.get("uid", ""), key, owner["uid"])
