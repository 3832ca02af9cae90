"""The linear baseline: what it learns, and the data on which there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest

from kaon_jobs.tasks.text_classification import linear_baseline as linear
from kaon_jobs.tasks.text_classification.linear_baseline import baseline, linear_predictions

TEXTS = ["a good film", "good and fine", "a bad film", "bad and poor"] * 5
LABELS = np.array([0, 0, 1, 1] * 5)


def test_it_learns_words_and_gives_the_figures_that_need_no_probabilities() -> None:
    found = baseline(TEXTS, LABELS, ["so good", "so bad", "good"], np.array([0, 1, 1]), ["pos", "neg"])
    assert found.name == "linear SVM on TF-IDF"
    assert found.metrics["accuracy"].value == pytest.approx(2 / 3, abs=1e-6)
    assert found.metrics["accuracy"].low is not None and "ece" not in found.metrics


def test_scripts_without_spaces_are_read_by_characters() -> None:
    texts = ["这部电影很好", "演得好", "这部电影很差", "演得差"] * 3
    found = linear_predictions(texts, np.array([0, 0, 1, 1] * 3), ["故事好", "故事差"], 0)
    assert found.tolist() == [0, 1]


def test_the_same_data_give_the_same_answers() -> None:
    first, again = (linear_predictions(TEXTS, LABELS, ["fine film", "poor"], 3) for _ in range(2))
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize(
    ("texts", "label_ids", "answer"),
    [(["a b", "c"], [1, 1], 1), (["", "  ", "!"], [0, 1, 1], 1)],
    ids=["one class in training", "no words"],
)
def test_where_there_is_nothing_to_learn_the_largest_class_is_the_answer(
    texts: list[str], label_ids: list[int], answer: int
) -> None:
    assert linear_predictions(texts, np.array(label_ids), ["x", ""], 0).tolist() == [answer, answer]


def test_of_many_rows_a_seeded_sample_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MAX_ROWS", 8)
    assert linear_predictions(TEXTS, LABELS, ["good", "bad"], 1).tolist() == [0, 1]
