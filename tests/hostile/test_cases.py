"""The inputs are what they say they are: drawn from the schemas, the same for the same seed, of every class."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hostile.cases import make
from hostile.judge import of_refusal, of_status
from hostile.schema import Kind, sites, user_kinds
from hostile.values import draw_spec

SEED = 7


def test_a_seed_and_an_index_give_the_same_input_again() -> None:
    assert [make(SEED, index) for index in range(300)] == [make(SEED, index) for index in range(300)]


def test_another_seed_gives_other_inputs() -> None:
    assert [make(SEED, index).body for index in range(50)] != [make(SEED + 1, index).body for index in range(50)]


def test_every_class_and_kind_comes_up_and_no_two_inputs_are_alike() -> None:
    cases = [make(SEED, index) for index in range(1500)]
    assert {case.kind for case in cases} == {kind.name for kind in user_kinds()}
    assert min(Counter(case.klass for case in cases).values()) >= 15
    assert len({(case.body, case.report) for case in cases}) > 1480


@pytest.mark.parametrize("kind", user_kinds(), ids=lambda kind: kind.name)
def test_every_field_comes_up_in_valid_inputs(kind: Kind) -> None:
    """A field that is never drawn would never be tried."""
    rng, seen = random.Random(SEED), set()
    for _ in range(100):
        spec = draw_spec(kind.name, kind.spec, rng, often=0.9)
        paths = (site.path for site in sites(spec, kind.spec, ()))
        seen |= {".".join(part for part in path if isinstance(part, str)) for path in paths}
    assert fields(kind.spec) - seen == set()


def fields(schema: dict[str, object], path: str = "") -> set[str]:
    """Every field of a schema, below lists too."""
    found: set[str] = set()
    properties = schema.get("properties", {})
    assert isinstance(properties, dict)
    for name, child in properties.items():
        here = f"{path}.{name}".lstrip(".")
        found |= {here} | fields(child, here)
    items = schema.get("items")
    return found | fields(items, path) if isinstance(items, dict) else found


def refusal(**details: object) -> dict[str, object]:
    return {"message": "spec.backoffLimit: Invalid value", **details}


NAMED = {"details": {"causes": [{"field": "spec.backoffLimit"}]}}


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (422, refusal(**NAMED), "refused"),
        (422, refusal(), "problem"),
        (400, {"message": ""}, "problem"),
        (500, refusal(**NAMED), "problem"),
    ],
)
def test_a_refusal_must_have_words_and_name_a_field(status: int, body: dict[str, object], outcome: str) -> None:
    case = next(case for index in range(999) if (case := make(SEED, index)).expects == "any")
    assert of_refusal(case, status, body).outcome == outcome


def test_a_valid_input_that_is_refused_and_a_broken_one_that_is_taken_are_problems() -> None:
    cases = {case.expects: case for index in range(99) if (case := make(SEED, index))}
    assert of_refusal(cases["accepted"], 422, refusal(**NAMED)).is_problem
    ready = {"type": "Ready", "status": "False", "reason": "Pending", "message": "x", "observedGeneration": 1}
    obj = {"metadata": {"generation": 1}, "status": {"phase": "Pending", "conditions": [ready]}}
    assert of_status(cases["refused"], obj, "a-job", []).is_problem
    assert of_status(cases["accepted"], obj, "a-job", []).outcome == "started"
    assert of_status(cases["accepted"], obj, "a-job", ["its pod is refused"]).is_problem
    assert of_status(cases["accepted"], obj, "", []).is_problem
