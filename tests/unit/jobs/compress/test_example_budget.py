"""The demo's example: its result hangs on no clock, and R8's test split can show that its budget is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from kaon.api.compressionjob import Budget, CompressionJobSpec
from kaon_jobs.compress.statistics.classes import compare_classes
from kaon_jobs.compress.statistics.decisions import Finding

EXAMPLE = Path(__file__).parents[4] / "examples/r8/compressionjob.yaml"
TEST_ROWS = {
    "acq": (696, 679), "crude": (121, 112), "earn": (1083, 1074), "grain": (10, 9), "interest": (81, 65),
    "money-fx": (87, 75), "ship": (36, 32), "trade": (75, 73),
}  # fmt: skip
"""Of Reuters R8's own test split, and how many of them the trained model gets right."""
CHANGED = 0.01
"""Share of a class's rows that a good student gets wrong where its teacher is right, and as many the other way."""


@pytest.fixture
def spec() -> CompressionJobSpec:
    return CompressionJobSpec.model_validate(yaml.safe_load(EXAMPLE.read_text())["spec"])


def findings(budget: Budget) -> dict[str, Finding]:
    """What R8's test rows show of a budget when two answers in a hundred change and none is lost on balance."""
    truth, teacher, student = [], [], []
    for label, (rows, right) in enumerate(TEST_ROWS.values()):
        other = (label + 1) % len(TEST_ROWS)
        changed = min(round(CHANGED * rows), rows - right)
        truth += [label] * rows
        teacher += [label] * right + [other] * (rows - right)
        student += [other] * changed + [label] * right + [other] * (rows - right - changed)
    arrays = (np.asarray(answers, dtype=np.int64) for answers in (truth, teacher, student))
    quality = compare_classes(*arrays, list(TEST_ROWS), seed=0)
    assert quality.drops["accuracy"].value == 0
    return {item.field: item.finding for item in quality.decide(budget, seed=0)}


def test_the_examples_compression_is_the_same_on_a_busy_machine(spec: CompressionJobSpec) -> None:
    assert spec.strategy == "steps"
    assert (spec.budget.min_speedup, spec.budget.max_latency_ms) == (None, None)


def test_the_examples_budget_can_be_shown_by_the_test_rows_there_are(spec: CompressionJobSpec) -> None:
    assert spec.budget.on_inconclusive == "Reject"
    assert findings(spec.budget) == {"maxDrop.accuracy": Finding.KEPT, "maxDrop.macroF1": Finding.KEPT}


def test_ten_rows_of_a_class_do_not_show_two_points_of_macro_f1() -> None:
    assert findings(Budget(max_drop={"macroF1": 0.02})) == {"maxDrop.macroF1": Finding.UNDECIDED}
