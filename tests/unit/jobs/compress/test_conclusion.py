"""The verdict: accepted only when it is shown, rejected only when that is shown, and what is said in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kaon_jobs.compress.statistics.classes import ClassQuality, compare_classes
from kaon_jobs.compress.statistics.decisions import Decision, Finding, finding
from kaon_jobs.compress.verdict.conclusion import Conclusion, conclude
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.message import inconclusive

from .figures_of import budget_of, measured, quality

STRICT = {"maxDrop": {"accuracy": 0.01, "macroF1": 0.02}}


def _conclude(budget: dict[str, Any], candidate: Measured, objective: str = "latency") -> Conclusion:
    return conclude(budget_of(budget), objective, candidate, seed=0)


def _decision(budget: dict[str, Any], found: ClassQuality, field: str, label: str | None = None) -> Decision:
    decisions = found.decide(budget_of(budget), seed=0)
    return next(item for item in decisions if item.field == field and label in (None, item.label))


def _four(lost: tuple[int, int, int, int] = (0, 0, 0, 0)) -> ClassQuality:
    """Four classes of 1,500, 500, 100 and 4 rows, of each of which the candidate loses some."""
    rows = [1500, 500, 100, 4]
    truth = np.repeat(np.arange(4), rows)
    candidate = truth.copy()
    for label, count in enumerate(lost):
        candidate[np.flatnonzero(truth == label)[:count]] = 1 if label == 0 else 0
    return compare_classes(truth, truth, candidate, ["a", "b", "c", "rare"], seed=0)


def test_a_loss_far_below_its_budget_on_many_rows_is_accepted() -> None:
    found = _conclude({"maxDrop": {"accuracy": 0.01}}, measured(quality(lost_big=5, big=4000)))
    assert found.verdict == "Accepted" and found.usable and not found.violations
    assert [item.finding for item in found.decisions] == [Finding.KEPT]
    assert found.decisions[0].high is not None and found.decisions[0].high <= 0.01


def test_a_loss_far_above_its_budget_is_rejected_with_its_limit() -> None:
    found = _conclude({"maxDrop": {"accuracy": 0.01}}, measured(quality(lost_big=60)))
    assert found.verdict == "Rejected" and not found.usable
    assert [item.sentence for item in found.violations] == [
        "accuracy drop 0.06 exceeds 0.01 (above 0.047 with 0.95 confidence)"
    ]


@pytest.mark.parametrize("lost", [7, 13])
def test_a_loss_close_to_its_budget_is_inconclusive_on_either_side_of_it(lost: int) -> None:
    found = _conclude({"maxDrop": {"accuracy": 0.01}}, measured(quality(lost_big=lost)))
    assert found.verdict == "Inconclusive" and not found.usable
    (left,) = found.undecided
    assert left.more_rows_of_all is not None and left.more_rows_of_all > 100


def test_the_class_that_leaves_the_doubt_is_named_with_the_rows_that_would_decide() -> None:
    left = _decision({"maxDrop": {"macroF1": 0.02}}, _four(), "maxDrop.macroF1")
    assert left.finding is Finding.UNDECIDED
    assert (left.label, left.rows) == ("rare", 4)
    assert left.more_rows is not None and 10 < left.more_rows < 60


def test_the_rows_that_are_asked_for_do_decide() -> None:
    left = _decision({"maxDrop": {"macroF1": 0.02}}, _four(), "maxDrop.macroF1")
    assert left.more_rows is not None
    rows = [1500, 500, 100, 4 + left.more_rows]
    truth = np.repeat(np.arange(4), rows)
    enough = compare_classes(truth, truth, truth, ["a", "b", "c", "rare"], seed=0)
    assert _decision({"maxDrop": {"macroF1": 0.02}}, enough, "maxDrop.macroF1").finding is Finding.KEPT


def test_each_class_that_is_too_small_for_a_bound_on_recall_is_named() -> None:
    decisions = _four().decide(budget_of({"maxClassRecallDrop": 0.05}), seed=0)
    assert {item.label: item.finding for item in decisions} == {
        "a": Finding.KEPT, "b": Finding.KEPT, "c": Finding.KEPT, "rare": Finding.UNDECIDED,
    }  # fmt: skip
    # 59 rows of which none is lost: 0.95 ** 59 is just under 5 %.
    assert decisions[3].more_rows == pytest.approx(55, abs=2)


def test_a_sacrificed_class_is_rejected_though_accuracy_is_not_touched() -> None:
    budget = {"maxDrop": {"accuracy": 0.01}, "maxClassRecallDrop": 0.05}
    sacrificed = _conclude(budget, measured(_four((0, 0, 14, 0))))
    assert sacrificed.verdict == "Rejected"
    assert [item.field for item in sacrificed.violations] == ["maxClassRecallDrop"]
    assert "recall drop of 'c' 0.14 exceeds 0.05" in sacrificed.violations[0].sentence


def test_a_class_without_a_test_row_is_never_taken_for_kept() -> None:
    truth = np.repeat([0, 1], 2000)
    found = compare_classes(truth, truth, truth, ["a", "b", "absent"], seed=0)
    for budget in ({"maxDrop": {"macroF1": 0.1}}, {"maxClassRecallDrop": 0.1}):
        conclusion = _conclude(budget, measured(found))
        assert conclusion.verdict == "Inconclusive"
        assert [(item.label, item.rows) for item in conclusion.undecided] == [("absent", 0)]
        assert (conclusion.undecided[0].more_rows or 0) >= 5
        assert finding(budget_of(budget), found.pairs, 0, 400) is Finding.UNDECIDED


def test_a_missing_quality_is_rejected_and_never_inconclusive() -> None:
    found = _conclude({**STRICT, "onInconclusive": "Accept"}, measured(quality=None))
    assert found.verdict == "Rejected" and not found.usable
    assert all("was not measured" in item.sentence for item in found.violations)


def test_answers_that_are_no_numbers_are_rejected() -> None:
    found = _conclude(STRICT, measured(quality=None, unanswered=3))
    assert found.verdict == "Rejected"
    assert found.violations[0].sentence == "for 3 rows it gives answers that are no numbers"


def test_slower_is_rejected_whatever_the_quality() -> None:
    found = _conclude({"maxDrop": {"accuracy": 0.1}, "onInconclusive": "Accept"}, measured(speed=(0.6, 0.55, 0.65)))
    assert found.verdict == "Rejected"
    assert "slower than the baseline" in found.violations[0].sentence


def test_a_broken_bound_on_size_is_rejected_though_quality_is_undecided() -> None:
    found = _conclude({"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 9}, measured(quality(lost_big=9)))
    assert found.verdict == "Rejected"
    assert [item.field for item in found.violations] == ["minSizeRatio"]


def test_the_policy_lets_an_inconclusive_model_pass_only_when_its_drops_keep_the_budget_as_measured() -> None:
    budget = {"maxDrop": {"accuracy": 0.01}, "onInconclusive": "Accept"}
    within, beyond = (_conclude(budget, measured(quality(lost_big=lost))) for lost in (9, 11))
    assert (within.verdict, within.usable) == ("Inconclusive", True)
    assert (beyond.verdict, beyond.usable) == ("Inconclusive", False)
    assert not _conclude({"maxDrop": {"accuracy": 0.01}}, measured(quality(lost_big=9))).usable


def test_less_confidence_accepts_what_more_leaves_open() -> None:
    candidate = measured(quality(lost_big=7))
    assert _conclude({"maxDrop": {"accuracy": 0.01}}, candidate).verdict == "Inconclusive"
    assert _conclude({"maxDrop": {"accuracy": 0.01}, "confidence": 0.7}, candidate).verdict == "Accepted"


def test_many_classes_do_not_break_a_budget_by_chance_alone() -> None:
    # Of 40 classes of 30 rows one has lost four: alone that would be beyond doubt, among forty it is not.
    truth = np.repeat(np.arange(40), 30)
    candidate = truth.copy()
    candidate[:4] = 1
    found = compare_classes(truth, truth, candidate, [str(label) for label in range(40)], seed=0)
    assert _decision({"maxClassRecallDrop": 0.03}, found, "maxClassRecallDrop", "0").finding is Finding.UNDECIDED


@pytest.mark.parametrize("policy", ["Reject", "Accept"])
def test_the_message_names_budget_class_rows_policy_and_what_could_be_asked_instead(policy: str) -> None:
    budget = budget_of({"maxDrop": {"macroF1": 0.02}, "onInconclusive": policy})
    candidate = measured(_four())
    found = conclude(budget, "latency", candidate, seed=0)
    text = inconclusive("layers+int8", candidate, found, budget, "chosen on the validation split")
    assert text.startswith("layers+int8, chosen on the validation split, is inconclusive on the test split: with 95 %")
    assert "not below 0.02 (maxDrop.macroF1)" in text and "more test rows of 'rare' (it has 4) would decide" in text
    assert f"onInconclusive: {policy}" in text and "These rows would show maxDrop.macroF1 0." in text


def test_what_the_message_offers_would_be_accepted() -> None:
    candidate = measured(quality(lost_big=9))
    found = _conclude({"maxDrop": {"accuracy": 0.01}}, candidate)
    text = inconclusive("x", candidate, found, budget_of({"maxDrop": {"accuracy": 0.01}}), "as the steps say")
    offered = text.rsplit("These rows would show ", 1)[1].split(",")
    assert _conclude({"maxDrop": {"accuracy": float(offered[0].split()[1])}}, candidate).verdict == "Accepted"
    confidence = float(offered[1].split()[-1].rstrip("."))
    assert _conclude({"maxDrop": {"accuracy": 0.01}, "confidence": confidence}, candidate).verdict == "Accepted"


def test_decisions_in_short_are_the_same_as_in_full() -> None:
    for lost in ((0, 0, 0, 0), (3, 1, 0, 0), (30, 5, 9, 1), (0, 90, 0, 0)):
        found = _four(lost)
        for bounds in ({"maxDrop": {"accuracy": 0.02}}, {"maxDrop": {"macroF1": 0.3}}, {"maxClassRecallDrop": 0.6}):
            budget = budget_of(bounds)
            in_full = {item.finding for item in found.decide(budget, seed=0)}
            expected = next(item for item in (Finding.BROKEN, Finding.UNDECIDED, Finding.KEPT) if item in in_full)
            assert finding(budget, found.pairs, 0, 8000) is expected
