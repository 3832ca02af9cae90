"""The demo's example: its result hangs on no clock, and R8's test split can show that its budget is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from kaon.api.compressionjob import Budget, CompressionJobSpec
from kaon_jobs.compress.decisions import Finding, decide
from kaon_jobs.compress.quality import compare

EXAMPLE = Path(__file__).parents[4] / "examples/r8/compressionjob.yaml"
TEST_ROWS = {
    "acq": 696, "crude": 121, "earn": 1083, "grain": 10, "interest": 81, "money-fx": 87, "ship": 36, "trade": 75,
}  # fmt: skip
"""Of Reuters R8's own test split."""


@pytest.fixture
def spec() -> CompressionJobSpec:
    return CompressionJobSpec.model_validate(yaml.safe_load(EXAMPLE.read_text())["spec"])


def findings(budget: Budget) -> dict[str, Finding]:
    """What R8's test rows show of a budget when a model changes no answer; three rows in a hundred are wrong."""
    truth = np.repeat(np.arange(len(TEST_ROWS)), list(TEST_ROWS.values()))
    answers = np.where(np.arange(len(truth)) % 33 == 0, (truth + 1) % len(TEST_ROWS), truth)
    quality = compare(truth, answers, answers, list(TEST_ROWS), seed=0)
    return {item.field: item.finding for item in decide(budget, quality, seed=0)}


def test_the_examples_compression_is_the_same_on_a_busy_machine(spec: CompressionJobSpec) -> None:
    assert spec.strategy == "steps"
    assert (spec.budget.min_speedup, spec.budget.max_latency_ms) == (None, None)


def test_the_examples_budget_can_be_shown_by_the_test_rows_there_are(spec: CompressionJobSpec) -> None:
    assert spec.budget.on_inconclusive == "Reject"
    assert spec.budget.max_macro_f1_drop is not None
    assert findings(spec.budget) == {"maxAccuracyDrop": Finding.KEPT, "maxMacroF1Drop": Finding.KEPT}


def test_two_points_of_macro_f1_cannot_be_shown_by_ten_rows_of_a_class() -> None:
    assert findings(Budget(max_macro_f1_drop=0.02)) == {"maxMacroF1Drop": Finding.UNDECIDED}
