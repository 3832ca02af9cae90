"""How sure paired answers make us: the three exact methods that it must agree with, and what it must never claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from kaon_jobs.compress.statistics.limits import (
    certainty,
    certainty_of_more,
    lower_limit,
    macro_f1_certainty,
    macro_f1_drops,
    upper_limit,
)
from kaon_jobs.compress.statistics.pairs import Pairs, pairs_of


@pytest.mark.parametrize(("lost", "won"), [(5, 9), (0, 3), (10, 30), (3, 3), (9, 2)])
def test_at_a_bound_of_zero_it_is_the_exact_test_of_mcnemar(lost: int, won: int) -> None:
    expected = 1 - binomtest(lost, lost + won, 0.5, alternative="less").pvalue
    assert certainty(lost, won, 500, 0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("lost", "rows"), [(0, 10), (0, 100), (2, 100), (9, 10), (40, 2189)])
def test_with_no_row_won_the_upper_limit_is_that_of_clopper_and_pearson(lost: int, rows: int) -> None:
    for confidence in (0.8, 0.95, 0.99):
        expected = beta.ppf(confidence, lost + 1, rows - lost)
        assert upper_limit(lost, 0, rows, confidence) == pytest.approx(expected, abs=1e-6)


def test_limits_and_certainty_say_the_same() -> None:
    for lost, won, rows in ((15, 10, 2189), (0, 0, 10), (3, 0, 4), (0, 7, 80)):
        high, low = upper_limit(lost, won, rows, 0.95), lower_limit(lost, won, rows, 0.95)
        assert certainty(lost, won, rows, high) == pytest.approx(0.95, abs=1e-3)
        assert certainty_of_more(lost, won, rows, low) == pytest.approx(0.95, abs=1e-3)
        assert low <= (lost - won) / rows <= high


def test_losing_and_winning_are_mirror_images() -> None:
    assert upper_limit(15, 10, 2189, 0.9) == pytest.approx(-lower_limit(10, 15, 2189, 0.9))


def test_of_no_rows_nothing_is_certain() -> None:
    assert certainty(0, 0, 0, 0.99) == 0
    assert certainty_of_more(0, 0, 0, 0.01) == 0


def test_every_row_lost_is_certain_to_be_a_drop_and_never_certain_to_be_small() -> None:
    assert certainty(4, 0, 4, 0.99) < 0.05
    assert certainty_of_more(4, 0, 4, 0.05) > 0.9
    assert certainty_of_more(40, 0, 40, 0.8) > 0.95


def _perfect(rows: list[int], lost: dict[int, int] | None = None) -> Pairs:
    """A baseline that is always right, and a candidate that loses some rows of some classes to the first class."""
    truth = np.repeat(np.arange(len(rows)), rows)
    candidate = truth.copy()
    for label, count in (lost or {}).items():
        candidate[np.flatnonzero(truth == label)[:count]] = 1 if label == 0 else 0
    return pairs_of(truth, truth, candidate, [str(label) for label in range(len(rows))])


def test_an_untouched_class_of_ten_rows_leaves_macro_f1_in_doubt_and_one_of_a_hundred_does_not() -> None:
    few, many = macro_f1_drops(_perfect([500, 400, 10]), seed=0), macro_f1_drops(_perfect([500, 400, 100]), seed=0)
    assert few.upper_limit(0.95) > 0.04 and few.certainty(0.02) < 0.95
    assert many.upper_limit(0.95) < 0.01 and many.certainty(0.02) > 0.95


def test_for_one_rare_class_macro_f1_is_as_uncertain_as_its_recall() -> None:
    # Precision of the rare class stays 1, so that its F1 follows from its recall alone, and nearly nothing else moves.
    drops = macro_f1_drops(_perfect([100_000, 20], {1: 3}), seed=0)
    recall = 1 - upper_limit(3, 0, 20, 0.95)
    assert drops.upper_limit(0.95) == pytest.approx((1 - 2 * recall / (1 + recall)) / 2, abs=0.005)


def test_the_same_seed_gives_the_same_limits_and_another_nearly_the_same() -> None:
    pairs = _perfect([300, 200, 30], {0: 3, 2: 2})
    first, again, other = (macro_f1_drops(pairs, seed) for seed in (3, 3, 4))
    assert first.upper_limit(0.95) == again.upper_limit(0.95)
    assert first.upper_limit(0.95) == pytest.approx(other.upper_limit(0.95), rel=0.05)


def test_more_rows_that_are_answered_alike_make_it_more_certain() -> None:
    pairs = _perfect([300, 200, 30], {2: 1})
    certain = [
        macro_f1_certainty(pairs, pairs.weights * np.where(pairs.truth == 2, factor, 1), 0.02, 0, 4000)
        for factor in (1, 2, 4, 8)
    ]
    assert certain == sorted(certain) and certain[-1] > certain[0] + 0.1


def test_a_model_of_one_class_is_never_certain() -> None:
    pairs = pairs_of(np.zeros(9, int), np.zeros(9, int), np.zeros(9, int), ["only"])
    assert macro_f1_drops(pairs, 0).certainty(0.5) == 0
