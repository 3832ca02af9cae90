"""The gate on models whose true drop is known: it accepts fewer than one in twenty that break their budget.

A small run of benchmarks/compression/gate.py, with its seeds fixed. Of so few splits a share of 5 % may by chance be
some more; the benchmark draws thousands.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scipy.stats import binom

from kaon_jobs.compress.statistics.decisions import Finding

ROOT = Path(__file__).resolve().parents[4]
SPLITS, DRAWS = 200, 1000
BY_CHANCE = float(binom.ppf(0.99, SPLITS, 0.05)) / SPLITS
"""The share that 99 of 100 such runs stay under, when the true share is 5 %."""


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    """The benchmark, as a module."""
    spec = importlib.util.spec_from_file_location("gate", ROOT / "benchmarks" / "compression" / "gate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their own module up.
    sys.modules["gate"] = module
    spec.loader.exec_module(module)
    return module


def _shares(gate: ModuleType, split: str, budget: str, harm: str, share: float) -> dict[Finding, float]:
    asked = gate.BUDGETS[budget]
    candidate = gate.model_with_drop(gate.SPLITS[split], harm, asked, share * gate.bound_of(asked))
    assert candidate is not None
    assert candidate.drop(asked) == pytest.approx(share * gate.bound_of(asked), abs=1e-6)
    found: dict[Finding, float] = gate.shares(candidate, asked, SPLITS, seed=1, draws=DRAWS)
    return found


@pytest.mark.parametrize(
    ("split", "budget", "harm"),
    [
        ("r8", "macro-F1, 2 points", "the rarest class"),
        ("r8-perfect", "macro-F1, 2 points", "the rarest class"),
        ("r8", "macro-F1, 2 points", "into the rarest class"),
        ("r8", "macro-F1, 2 points", "where the baseline errs"),
        ("r8", "accuracy, 1 point", "all classes alike"),
        ("balanced", "recall of each class, 5 points", "the rarest class"),
        ("balanced", "macro-F1, 2 points", "all classes alike"),
        ("binary", "accuracy, 1 point", "the rarest class"),
        ("binary", "macro-F1, 2 points", "all classes alike"),
    ],
)
def test_fewer_than_one_in_twenty_models_just_over_their_budget_are_accepted(
    gate: ModuleType, split: str, budget: str, harm: str
) -> None:
    assert _shares(gate, split, budget, harm, gate.OVER)[Finding.KEPT] <= BY_CHANCE


def test_fewer_than_one_in_twenty_models_just_within_their_budget_are_rejected(gate: ModuleType) -> None:
    for harm in ("all classes alike", "the rarest class"):
        assert _shares(gate, "r8", "macro-F1, 2 points", harm, 0.99)[Finding.BROKEN] <= BY_CHANCE
    assert _shares(gate, "r8", "accuracy, 1 point", "all classes alike", 0.99)[Finding.BROKEN] <= BY_CHANCE


def test_with_enough_rows_good_models_are_accepted_and_bad_ones_rejected(gate: ModuleType) -> None:
    assert _shares(gate, "large", "macro-F1, 2 points", "where the baseline errs", 0.25)[Finding.KEPT] > 0.8
    assert _shares(gate, "large", "accuracy, 1 point", "all classes alike", 0.5)[Finding.KEPT] > 0.95
    assert _shares(gate, "large", "accuracy, 1 point", "all classes alike", 1.5)[Finding.BROKEN] > 0.8
