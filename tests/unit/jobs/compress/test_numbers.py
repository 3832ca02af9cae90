"""What a candidate loses where numbers are predicted: rises of the errors, and how sure the rows make us of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from kaon_jobs.compress.statistics.comparing import comparing_of
from kaon_jobs.compress.statistics.decisions import Finding
from kaon_jobs.compress.statistics.numbers import NumberQuality, compare_numbers
from kaon_jobs.compress.verdict.conclusion import Conclusion, conclude
from kaon_jobs.compress.verdict.message import inconclusive, rejected
from kaon_jobs.compress.verdict.selection import Standing, contender

from .figures_of import budget_of, measured


def _drawn(rows: int, worse: float, seed: int = 1, unit: float = 1.0) -> tuple[Any, Any, Any]:
    """A baseline that errs by 1 on average of squares, and a candidate whose errors are further apart by `worse`."""
    draw = np.random.default_rng(seed)
    truth = draw.normal(scale=3, size=rows)
    baseline = truth + draw.normal(size=rows)
    candidate = baseline + draw.normal(scale=np.sqrt(2 * worse + worse**2), size=rows)
    return unit * truth, unit * baseline, unit * candidate


def _quality(rows: int, worse: float, seed: int = 1, unit: float = 1.0) -> NumberQuality:
    return compare_numbers(*_drawn(rows, worse, seed, unit), seed=0)


def _conclude(budget: dict[str, Any], found: NumberQuality) -> Conclusion:
    return conclude(budget_of(budget), "size", measured(found), seed=0)


def test_rises_are_differences_of_what_scikit_learn_measures() -> None:
    truth, baseline, candidate = _drawn(300, 0.1)
    found = compare_numbers(truth, baseline, candidate, seed=0)
    for name, error in (("rmse", root_mean_squared_error), ("mae", mean_absolute_error)):
        drop = found.drops[name]
        assert drop.value == pytest.approx(error(truth, candidate) - error(truth, baseline))
        assert drop.low < drop.value < drop.high


def test_what_numbers_do_not_have_is_absent() -> None:
    found = _quality(100, 0.1)
    assert (found.flip_rate, found.worst_class, found.classes, found.unmeasured) == (None, None, (), ())


def test_the_unit_scales_the_rises_and_changes_nothing_else() -> None:
    one, thousand = _quality(400, 0.1), _quality(400, 0.1, unit=1000.0)
    for name, drop in one.drops.items():
        for end in ("value", "low", "high"):
            assert getattr(thousand.drops[name], end) == pytest.approx(1000 * getattr(drop, end), rel=1e-4)


def test_pairing_makes_the_limits_narrower_than_those_of_two_models_apart() -> None:
    truth, baseline, candidate = _drawn(2000, 0.01)
    found = compare_numbers(truth, baseline, candidate, seed=0).drops["rmse"]
    alone = 1.645 * np.std((baseline - truth) ** 2) / 2 / np.sqrt(2000)
    assert found.high - found.value < alone


def test_equal_answers_on_few_rows_are_not_taken_for_equal_models() -> None:
    truth, baseline, _ = _drawn(30, 0.1)
    found = compare_numbers(truth, baseline, baseline, seed=0)
    assert found.drops["rmse"].value == 0 and found.drops["rmse"].high > 0.05
    many, same, _ = _drawn(30_000, 0.1)
    assert compare_numbers(many, same, same, seed=0).drops["rmse"].high < 0.01


def test_fewer_than_one_in_twenty_models_at_their_bound_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaon_jobs.compress.statistics.numbers.DRAWS", 1000)
    bound = 0.05
    budget = budget_of({"maxDrop": {"rmse": bound}})
    kept = sum(_quality(500, bound, seed).finding(budget, 0) is Finding.KEPT for seed in range(200))
    assert kept <= 16, "5 % of 200, and what chance adds in 99 of 100 runs"


def test_a_clear_rise_is_rejected_a_clear_keeping_accepted_and_little_data_decides_nothing() -> None:
    assert _conclude({"maxDrop": {"rmse": 0.2}}, _quality(3000, 0.02)).verdict == "Accepted"
    broken = _conclude({"maxDrop": {"rmse": 0.02}}, _quality(3000, 0.3))
    assert broken.verdict == "Rejected"
    assert "RMSE rise" in broken.violations[0].sentence and "with 0.95 confidence" in broken.violations[0].sentence
    assert "RMSE rise" in rejected("x", measured(_quality(3000, 0.3)), broken.violations, "as the steps say")
    few = _conclude({"maxDrop": {"rmse": 0.1, "mae": 0.1}}, _quality(60, 0.05))
    assert few.verdict == "Inconclusive" and not few.usable


def test_the_rows_that_are_asked_for_do_decide() -> None:
    budget = budget_of({"maxDrop": {"rmse": 0.115}})
    found = _quality(250, 0.04)
    (left,) = found.decide(budget, 0)
    assert left.finding is Finding.UNDECIDED and left.label is None and left.rows == 250
    assert left.more_rows_of_all is not None
    times = 1 + 2 * -(-left.more_rows_of_all // 250)
    truth, baseline, candidate = (np.tile(values, times) for values in _drawn(250, 0.04))
    (after,) = compare_numbers(truth, baseline, candidate, seed=0).decide(budget, 0)
    assert after.finding is Finding.KEPT
    text = inconclusive("x", measured(found), conclude(budget, "size", measured(found), 0), budget, "as the steps say")
    assert "more test rows would decide" in text and "RMSE rise" in text and "class" not in text


@pytest.mark.parametrize(
    "budget", [{"maxDrop": {"accuracy": 0.5}}, {"maxDrop": {"rmse": 9, "macroF1": 1}}, {"maxClassRecallDrop": 1}]
)
def test_a_budget_that_numbers_cannot_be_asked_is_broken_and_never_passed_over(budget: dict[str, Any]) -> None:
    found = _quality(2000, 0.01)
    conclusion = _conclude({**budget, "onInconclusive": "Accept"}, found)
    assert conclusion.verdict == "Rejected" and not conclusion.usable
    assert any("was not measured" in item.sentence for item in conclusion.violations)
    assert found.chance(budget_of(budget), 0) == 0.0
    assert found.finding(budget_of(budget), 0) is not Finding.KEPT
    assert found.chance_of_passing(budget_of(budget), np.zeros(10), 0) == 0.0
    assert contender("x", measured(found), budget_of(budget), "size").standing is Standing.BREAKS


def test_chances_fall_with_what_is_lost_and_rise_with_the_test_split() -> None:
    budget = budget_of({"maxDrop": {"rmse": 0.05}})
    chances = [_quality(400, worse).chance(budget, 0) for worse in (0.0, 0.03, 0.06, 0.3)]
    assert chances == sorted(chances, reverse=True) and chances[0] > 0.9 and chances[-1] < 0.05
    good = _quality(400, 0.01)
    small, large = (good.chance_of_passing(budget, np.zeros(rows), 0) for rows in (50, 5000))
    assert large > small + 0.2


def test_the_same_seed_gives_the_same_figures() -> None:
    assert _quality(200, 0.1).drops == _quality(200, 0.1).drops


def test_more_rows_than_can_be_drawn_for_in_full_are_compared_with_fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaon_jobs.compress.statistics.numbers.MOST_WEIGHTS", 2_000_000)
    assert len(_quality(2000, 0.1).rises["rmse"].likely) == 1000


def test_two_predictions_are_as_far_apart_whatever_their_unit() -> None:
    comparing = comparing_of([])
    one, other = np.array([[1.0], [2.0], [4.0]], np.float32), np.array([[1.1], [2.0], [4.0]], np.float32)
    assert comparing.divergence(one, one) == 0
    assert comparing.divergence(1000 * one, 1000 * other) == pytest.approx(comparing.divergence(one, other), rel=1e-3)
