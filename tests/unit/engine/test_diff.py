"""When an observed object counts as what is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from kaon.engine.diff import contains, manifest_hash

EQUAL = [
    ("defaults of the server are no difference", {"a": 1, "default": True}, {"a": 1}),
    ("an empty map that the server left out", {}, {"a": {}}),
    ("an empty list that the server left out", {}, {"a": []}),
    ("a false that the server left out", {}, {"hostNetwork": False}),
    ("an empty text that the server left out", {"name": "A"}, {"name": "A", "value": ""}),
    ("CPU in the server's form", {"limits": {"cpu": "500m"}}, {"limits": {"cpu": "0.5"}}),
    ("a whole CPU as a number", {"requests": {"cpu": "2"}}, {"requests": {"cpu": 2}}),
    ("memory in the server's form", {"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}),
    ("a float that JSON writes as an integer", {"a": 1}, {"a": 1.0}),
    (
        "a sidecar that somebody else added",
        {"containers": [{"name": "x"}, {"name": "a"}]},
        {"containers": [{"name": "a"}]},
    ),
    ("another owner", {"ownerReferences": [{"uid": "1"}, {"uid": "2"}]}, {"ownerReferences": [{"uid": "2"}]}),
]
DIFFERENT = [
    ("another value", {"a": 1}, {"a": 2}),
    ("a missing field", {}, {"a": 1}),
    ("a missing zero, which is a value", {}, {"replicas": 0}),
    ("a longer list that is one value", {"args": ["a", "b"]}, {"args": ["a"]}),
    ("another order of a list that is one value", {"args": ["b", "a"]}, {"args": ["a", "b"]}),
    ("a missing container", {"containers": [{"name": "x"}]}, {"containers": [{"name": "a"}]}),
    (
        "an edited container",
        {"containers": [{"name": "a", "image": "1"}]},
        {"containers": [{"name": "a", "image": "2"}]},
    ),
    ("another amount", {"limits": {"cpu": "500m"}}, {"limits": {"cpu": "0.6"}}),
    ("amounts elsewhere are text", {"data": {"cpu": "500m"}}, {"data": {"cpu": "0.5"}}),
    ("true is not left out", {}, {"readOnly": True}),
]


@pytest.mark.parametrize(("why", "observed", "wanted"), EQUAL, ids=[case[0] for case in EQUAL])
def test_is_what_is_wanted(why: str, observed: Any, wanted: Any) -> None:
    assert contains(observed, wanted)


@pytest.mark.parametrize(("why", "observed", "wanted"), DIFFERENT, ids=[case[0] for case in DIFFERENT])
def test_is_not_what_is_wanted(why: str, observed: Any, wanted: Any) -> None:
    assert not contains(observed, wanted)


def test_the_hash_of_a_manifest_does_not_depend_on_the_order_of_its_fields() -> None:
    assert manifest_hash({"a": 1, "b": {"c": 2, "d": 3}}) == manifest_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert manifest_hash({"a": 1}) != manifest_hash({"a": 2})
