"""What a candidate loses: figures agree with scikit-learn, and say how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from kaon_jobs.compress.statistics.classes import Classes, compare_classes

LABELS = ["a", "b", "c"]


def _drawn(rows: int, flips: int, seed: int = 1) -> tuple[Classes, Classes, Classes]:
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=rows)
    baseline = np.where(random.random(rows) < 0.9, truth, (truth + 1) % 3)
    candidate = baseline.copy()
    changed = random.permutation(rows)[:flips]
    candidate[changed] = (candidate[changed] + 1) % 3
    return truth, baseline, candidate


def test_drops_are_differences_of_what_scikit_learn_measures() -> None:
    truth, baseline, candidate = _drawn(400, 30)
    found = compare_classes(truth, baseline, candidate, LABELS, seed=0)
    accuracy = accuracy_score(truth, baseline) - accuracy_score(truth, candidate)
    macro_f1 = f1_score(truth, baseline, average="macro") - f1_score(truth, candidate, average="macro")
    recalls = recall_score(truth, baseline, average=None) - recall_score(truth, candidate, average=None)
    assert found.drops["accuracy"].value == pytest.approx(accuracy)
    assert found.drops["macroF1"].value == pytest.approx(macro_f1)
    assert [item.drop for item in found.classes] == pytest.approx(list(recalls))
    assert found.worst_class is not None and found.worst_class.drop == pytest.approx(max(recalls))
    assert found.flip_rate == pytest.approx(30 / 400)


def test_the_limits_enclose_the_estimate_and_are_not_nothing_though_nothing_changed() -> None:
    truth, baseline, candidate = _drawn(400, 30)
    found = compare_classes(truth, baseline, candidate, LABELS, seed=0)
    assert found.drops["accuracy"].low < found.drops["accuracy"].value < found.drops["accuracy"].high
    assert found.drops["macroF1"].low < found.drops["macroF1"].value < found.drops["macroF1"].high
    same = compare_classes(truth, baseline, baseline, LABELS, seed=0)
    # The rule of three: what never happened in 400 rows may still happen to 3 in 400.
    assert same.drops["accuracy"].value == 0 and same.drops["accuracy"].high == pytest.approx(3 / 400, rel=0.01)
    assert same.flip_rate == 0


def test_more_confidence_means_wider_limits() -> None:
    rows = _drawn(400, 30)
    wide, narrow = (compare_classes(*rows, LABELS, seed=0, confidence=share) for share in (0.99, 0.8))
    for one, other in (
        (wide.drops["accuracy"], narrow.drops["accuracy"]),
        (wide.drops["macroF1"], narrow.drops["macroF1"]),
    ):
        assert one.low < other.low < other.high < one.high


def test_the_same_seed_gives_the_same_interval() -> None:
    truth, baseline, candidate = _drawn(200, 20)
    assert compare_classes(truth, baseline, candidate, LABELS, 3) == compare_classes(
        truth, baseline, candidate, LABELS, 3
    )


def test_a_pairing_makes_the_interval_narrower_than_two_separate_ones_would_be() -> None:
    truth, baseline, candidate = _drawn(1000, 10)
    found = compare_classes(truth, baseline, candidate, LABELS, seed=0)
    accuracy = accuracy_score(truth, baseline)
    unpaired = 1.96 * (2 * accuracy * (1 - accuracy) / 1000) ** 0.5
    assert found.drops["accuracy"].high - found.drops["accuracy"].low < unpaired


def test_a_class_without_rows_is_unmeasured_and_not_perfect() -> None:
    truth = np.array([0, 1] * 10)
    found = compare_classes(truth, truth, truth, LABELS, seed=0)
    assert found.unmeasured == ("c",)
    assert found.classes[2].drop is None
