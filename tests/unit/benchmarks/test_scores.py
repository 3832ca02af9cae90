"""The judge's arithmetic: quality, budget, speed-up."""

from __future__ import annotations

import numpy as np
import pytest
from scores import Budget, Quality, kept, quality, speedup, spent
from sklearn.metrics import accuracy_score, f1_score

BUDGET = Budget(accuracy_drop=0.01, macro_f1_drop=0.02)


def test_quality_is_what_scikit_learn_says() -> None:
    draw = np.random.default_rng(1)
    true = draw.integers(5, size=400)
    predicted = np.where(draw.random(400) < 0.8, true, draw.integers(5, size=400))
    found = quality(true, predicted, 5)
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(true, predicted, average="macro"))


def test_a_class_without_rows_or_predictions_counts_as_zero() -> None:
    found = quality(np.array([0, 0, 1]), np.array([0, 0, 1]), 3)
    assert found.accuracy == 1.0
    assert found.macro_f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("accuracy", "macro_f1", "holds"),
    [
        (0.97, 0.92, True),
        (0.96, 0.90, True),
        (0.9599, 0.92, False),
        (0.97, 0.8999, False),
        (0.99, 0.80, False),
    ],
)
def test_the_budget_holds_when_both_drops_are_at_most_what_is_allowed(
    accuracy: float, macro_f1: float, holds: bool
) -> None:
    assert kept(BUDGET, Quality(0.97, 0.92), Quality(accuracy, macro_f1)) is holds


def test_what_is_spent_is_the_larger_share_of_the_two_budgets() -> None:
    assert spent(BUDGET, Quality(0.97, 0.92), Quality(0.965, 0.905)) == pytest.approx(0.75)


def test_a_model_that_gained_has_spent_less_than_nothing() -> None:
    assert spent(BUDGET, Quality(0.97, 0.92), Quality(0.98, 0.94)) < 0


def test_the_speedup_is_the_ratio_of_the_medians_and_lies_in_its_interval() -> None:
    noise = np.random.default_rng(2).random(200)
    found = speedup(list(8 + noise), list((8 + noise) / 4))
    assert found.value == pytest.approx(4)
    assert found.low <= found.value <= found.high


def test_one_slow_round_in_a_hundred_does_not_move_the_speedup() -> None:
    candidate = [1.0] * 100
    candidate[7] = 500.0
    assert speedup([2.0] * 100, candidate).value == pytest.approx(2.0)


def test_too_few_rounds_give_no_speedup() -> None:
    with pytest.raises(ValueError, match="at least 30"):
        speedup([1.0] * 29, [1.0] * 29)


def test_rounds_that_do_not_belong_together_give_no_speedup() -> None:
    with pytest.raises(ValueError, match="40 and 50"):
        speedup([1.0] * 40, [1.0] * 50)
