"""What each step bought and cost: differences between prefixes, that add up to the whole."""

from __future__ import annotations

import pytest

from kaon.api.compressionjob import Step
from kaon_jobs.compress.evidence.attribution import attribution

from .figures_of import measured, quality

STEPS = [
    Step.model_validate({"optimize": "transformer-fusion"}),
    Step.model_validate({"quantize": {"scheme": "int8-dynamic"}}),
    Step.model_validate({"quantize": {"scheme": "fp16"}}),
]
AFTER = {
    1: measured(quality(lost_big=1), (1.25, 1.2, 1.3), size_bytes=90),
    2: measured(quality(lost_big=5), (2.5, 2.4, 2.6), size_bytes=25),
    3: measured(quality(lost_big=4), (2.0, 1.9, 2.1), size_bytes=20),
}


def test_each_step_is_the_difference_to_the_one_before() -> None:
    found = attribution(STEPS, AFTER, baseline_bytes=100, baseline_ms=10)
    assert [item.saved_bytes for item in found] == [10, 65, 5]
    assert [item.saved_ms for item in found] == [2, 4, -1]
    assert [item.lost["accuracy"] for item in found] == pytest.approx([0.001, 0.004, -0.001])
    assert [item.steps for item in found] == [[step] for step in STEPS]


def test_the_differences_add_up_to_the_whole() -> None:
    found = attribution(STEPS, AFTER, baseline_bytes=100, baseline_ms=10)
    assert sum(item.saved_bytes for item in found) == 100 - 20
    assert sum(item.saved_ms or 0 for item in found) == pytest.approx(10 - 10 / 2)
    last = AFTER[3].quality
    assert last is not None
    assert sum(item.lost["macroF1"] for item in found) == pytest.approx(last.drops["macroF1"].value, abs=1e-5)


def test_a_step_that_cannot_be_measured_alone_stands_together_with_the_next() -> None:
    found = attribution(STEPS, {1: AFTER[1], 3: AFTER[3]}, baseline_bytes=100, baseline_ms=10)
    assert [len(item.steps) for item in found] == [1, 2]
    assert found[1].name == "int8-dynamic+fp16" and found[1].saved_bytes == 70


def test_what_was_not_timed_has_no_time() -> None:
    found = attribution(STEPS[:1], {1: measured(speed=None)}, baseline_bytes=100, baseline_ms=10)
    assert found[0].p50_ms is None and found[0].saved_ms is None
