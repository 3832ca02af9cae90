"""How likely a candidate is to keep its budgets and to pass, from a validation split with a class of four rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kaon_jobs.compress.statistics.likelihood import chance, chance_of_passing
from kaon_jobs.compress.statistics.pairs import Pairs, pairs_of

from .figures_of import budget_of

VALIDATION = [175, 30, 271, 4, 20, 22, 9, 18]
"""The class sizes of Reuters R8's validation split, those of its test split below."""
TEST = np.array([696, 121, 1083, 10, 81, 87, 36, 75], dtype=np.float64)
BUDGET: dict[str, Any] = {"maxDrop": {"accuracy": 0.01, "macroF1": 0.02}}


def _pairs(lost: dict[int, int] | None = None, rows: list[int] = VALIDATION) -> Pairs:
    truth = np.repeat(np.arange(len(rows)), rows)
    baseline = truth.copy()
    # The baseline errs too: one row of each class but the rarest.
    for label in range(len(rows)):
        if rows[label] > 8:
            baseline[np.flatnonzero(truth == label)[-1]] = 0 if label != 0 else 2
    candidate = baseline.copy()
    for label, count in (lost or {}).items():
        candidate[np.flatnonzero(truth == label)[:count]] = 2 if label != 2 else 0
    return pairs_of(truth, baseline, candidate, list("abcdefgh"))


def test_a_student_that_loses_a_row_of_the_rarest_class_is_still_a_candidate() -> None:
    assert chance(budget_of(BUDGET), _pairs({3: 1}), 0) > 0.05
    assert chance(budget_of(BUDGET), _pairs({0: 1, 2: 1}), 0) > 0.7


def test_the_more_is_lost_the_smaller_the_chance() -> None:
    chances = [chance(budget_of(BUDGET), _pairs({0: lost, 2: lost}), 0) for lost in (0, 2, 4, 8)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.9 and chances[-1] < 0.05


def test_a_class_that_loses_half_its_many_rows_is_believed_and_not_smoothed_away() -> None:
    assert chance(budget_of(BUDGET), _pairs({1: 15}), 0) < 0.01


def test_a_wider_budget_is_likelier_to_be_kept_and_more_budgets_less() -> None:
    pairs = _pairs({0: 2, 5: 1})
    narrow = chance(budget_of(BUDGET), pairs, 0)
    assert chance(budget_of({"maxDrop": {"accuracy": 0.02, "macroF1": 0.04}}), pairs, 0) > narrow
    assert chance(budget_of({**BUDGET, "maxClassRecallDrop": 0.1}), pairs, 0) <= narrow


def test_the_same_seed_gives_the_same_chance() -> None:
    pairs = _pairs({0: 2})
    assert chance(budget_of(BUDGET), pairs, 5) == chance(budget_of(BUDGET), pairs, 5)


def test_what_must_be_shown_is_less_likely_to_pass_than_what_must_only_be_measured() -> None:
    pairs = _pairs({0: 1, 2: 1})
    strict, lenient = (
        chance_of_passing(budget_of({**BUDGET, "onInconclusive": policy}), pairs, TEST, 0)
        for policy in ("Reject", "Accept")
    )
    assert lenient > strict
    assert lenient == pytest.approx(chance(budget_of(BUDGET), pairs, 0), abs=0.25)


def test_a_larger_test_split_makes_a_good_candidate_likelier_to_pass() -> None:
    pairs = _pairs({0: 1}, rows=[8 * rows for rows in VALIDATION])
    budget = budget_of(BUDGET)
    assert chance_of_passing(budget, pairs, 8 * TEST, 0) > chance_of_passing(budget, pairs, TEST, 0) + 0.2


def test_a_class_that_only_the_test_split_has_is_reckoned_with() -> None:
    rows = [200, 200, 0]
    truth = np.repeat(np.arange(3), rows)
    pairs = pairs_of(truth, truth, truth, ["a", "b", "absent"])
    passing = chance_of_passing(budget_of({"maxDrop": {"accuracy": 0.05}}), pairs, np.array([200.0, 200.0, 50.0]), 0)
    assert 0 < passing <= 1
