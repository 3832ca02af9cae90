"""What is remembered of small inputs is what would be found again."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kaon.api.trainingrun import TrainingRunSpec
from kaon.contract.digest import digest_of
from kaon.controllers import remembered

SPEC = {"datasetRef": {"name": "reviews"}, "model": {"base": "s3://models/minilm"}}


def test_a_spec_is_parsed_once_and_another_spec_again() -> None:
    first = remembered.parsed(TrainingRunSpec, dict(SPEC))
    assert remembered.parsed(TrainingRunSpec, dict(SPEC)) is first
    other = remembered.parsed(TrainingRunSpec, {**SPEC, "suspend": True})
    assert other == TrainingRunSpec.model_validate({**SPEC, "suspend": True}) != first


def test_a_spec_that_cannot_be_read_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ValidationError):
            remembered.parsed(TrainingRunSpec, {"model": {"base": 1}})


@pytest.mark.parametrize(
    "value", [{"a": 1.0}, {"a": 1}, {"b": "x" * remembered.MOST_BYTES}, {"c": 2**70}, {"d": [None, True, "é"]}]
)
def test_a_digest_is_that_of_the_canonical_form(value: object) -> None:
    assert remembered.digest(value) == remembered.digest(value) == digest_of(value)


def test_large_specs_are_not_kept() -> None:
    spec = {**SPEC, "rerun": "x" * 60, "storage": {"uri": f"s3://{'b' * (remembered.MOST_BYTES)}"}}
    before = remembered._parsed.cache_info().currsize
    with pytest.raises(ValidationError):
        remembered.parsed(TrainingRunSpec, spec)
    assert remembered._parsed.cache_info().currsize == before
