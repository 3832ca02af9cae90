"""Figures of rankings: held against scikit-learn, their intervals, and what two models lose against each other."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from kaon.api.compressionjob import Budget
from kaon_jobs.compress.statistics.decisions import Finding
from kaon_jobs.compress.statistics.rankings import compare_rankings
from kaon_jobs.measure.page import of_rankings
from kaon_jobs.measure.ranking import by_user, ranking_quality

NAMES = {"ndcgAt10", "recallAt10", "mrrAt10"}


def test_one_user_by_hand() -> None:
    values = by_user([np.array([4, 9, 30])], np.array([[7, 9, 1, 4, 0, 2, 3, 5, 6, 8]]))
    gained = 1 / np.log2(3) + 1 / np.log2(5)
    assert values["ndcgAt10"][0] == pytest.approx(gained / (1 + 1 / np.log2(3) + 0.5))
    assert values["recallAt10"][0] == pytest.approx(2 / 3)
    assert values["mrrAt10"][0] == 0.5


def test_who_took_more_than_ten_can_be_served_whole_and_who_is_offered_nothing_is_not() -> None:
    ranked = np.array([np.arange(10), np.full(10, -1), [5, *[-1] * 9]])
    values = by_user([np.arange(20), np.array([3]), np.array([5])], ranked)
    assert values["ndcgAt10"].tolist() == [1, 0, 1]
    assert values["recallAt10"].tolist() == [1, 0, 1] and values["mrrAt10"].tolist() == [1, 0, 1]


def test_ndcg_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(40, 50))
    taken = [random.choice(50, random.integers(1, 15), replace=False) for _ in range(40)]
    relevance = np.zeros((40, 50))
    for row, wanted in enumerate(taken):
        relevance[row, wanted] = 1
    ranked = np.argsort(-scores, axis=1)[:, :10]
    values = by_user(taken, ranked)["ndcgAt10"]
    assert values.mean() == pytest.approx(ndcg_score(relevance, scores, k=10))


def test_intervals_hold_the_figure_and_narrow_with_users() -> None:
    random = np.random.default_rng(1)
    widths = []
    for users in (50, 800):
        taken = [random.choice(30, 3, replace=False) for _ in range(users)]
        ranked = np.stack([random.permutation(30)[:10] for _ in range(users)])
        found = ranking_quality(taken, ranked, 30)
        assert found.metrics.keys() == NAMES
        for figure in found.metrics.values():
            assert figure.low is not None and figure.high is not None
            assert figure.low <= figure.value <= figure.high
        recall = found.metrics["recallAt10"]
        widths.append((recall.high or 0) - (recall.low or 0))
    assert widths[1] < 0.4 * widths[0]


def test_the_report_tells_coverage_and_how_far_offers_lean_towards_what_is_popular() -> None:
    taken = [np.array([0, 39]), np.array([20])]
    found = ranking_quality(taken, np.array([[0, 1, 2, 3, *[-1] * 6], [0, 1, 2, 30, *[-1] * 6]]), 40)
    assert found.offered.sum() == 8 and found.taken.sum() == 3 and len(found.offered) == 40
    text = "".join(body for _, body in of_rankings(found))
    assert "12.5% of 40" in text and "87.5%" in text and "33.3%" in text


class TestComparing:
    def values(self, users: int, lost: float, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        random = np.random.default_rng(seed)
        before = random.beta(1, 3, users)
        after = np.clip(before - lost + random.normal(scale=0.02, size=users), 0, 1)
        return dict.fromkeys(NAMES, before), dict.fromkeys(NAMES, after)

    def finding(self, users: int, lost: float, bound: float) -> Finding:
        found = compare_rankings(*self.values(users, lost), seed=0)
        assert found.flip_rate is None and found.worst_class is None and not found.classes
        return found.finding(Budget.model_validate({"maxDrop": {"ndcgAt10": bound}}), 0)

    def test_many_users_show_a_small_drop_kept_a_large_one_broken_and_few_neither(self) -> None:
        assert self.finding(3000, 0.001, 0.02) is Finding.KEPT
        assert self.finding(3000, 0.1, 0.02) is Finding.BROKEN
        assert self.finding(30, 0.001, 0.02) is Finding.UNDECIDED

    def test_equal_rankings_of_few_users_are_not_certain(self) -> None:
        same = {name: np.full(20, 0.5) for name in NAMES}
        drop = compare_rankings(same, same, seed=0).drops["recallAt10"]
        assert drop.value == 0 and drop.low is not None and drop.high is not None
        assert -0.1 < drop.low < -0.02 < 0.02 < drop.high < 0.1

    @pytest.mark.parametrize("users", [60, 400])
    def test_of_models_whose_drop_is_the_bound_few_are_taken(self, users: int) -> None:
        taken = sum(
            compare_rankings(*self.values(users, 0.0, seed), seed=seed)
            .rises["ndcgAt10"].certainty(0.0) >= 0.95
            for seed in range(60)
        )  # fmt: skip
        assert taken <= 6
