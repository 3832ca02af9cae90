"""A test split that was trained on is no test split."""

from __future__ import annotations

import numpy as np
import pytest

from kaon_jobs.compress.trials.leak import check_held_out, leaked
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure


def _rows(texts: list[str], first: int) -> Rows:
    return Rows(texts, np.zeros(len(texts), dtype=np.int64), np.arange(first, first + len(texts)))


TEST = _rows(["Wheat prices rise", "oil falls", "a new bank"], 100)


def test_a_training_row_with_the_text_of_a_test_row_is_refused_with_both_ids() -> None:
    others = {"train": _rows(["gold", "  wheat PRICES\n rise"], 0), "validation": _rows(["Oil falls"], 50)}
    with pytest.raises(StageFailure, match=r"train rows 1 \(test 100\); validation rows 50 \(test 101\)") as failure:
        check_held_out(TEST, others)
    assert failure.value.reason == "TestSplitLeaked" and not failure.value.retriable


def test_texts_that_only_resemble_each_other_are_no_leak() -> None:
    others = {"train": _rows(["wheat prices rise again", "oil fell"], 0)}
    assert leaked(TEST, others) == {}
    check_held_out(TEST, others)


def test_many_leaked_rows_are_counted_and_the_first_named() -> None:
    with pytest.raises(StageFailure, match="and 30 more") as failure:
        check_held_out(TEST, {"train": _rows(["oil falls"] * 50, 0)})
    assert failure.value.message.startswith("50 rows outside of the test split") and len(failure.value.message) < 1000


def test_of_interactions_a_user_may_be_in_every_split_and_an_item_that_is_asked_for_in_none_before() -> None:
    def rows(*taken: list[int]) -> Rows:
        targets = np.empty(len(taken), dtype=np.object_)
        targets[:] = [np.array(one) for one in taken]
        return Rows([((), f"u{row}") for row in range(len(taken))], targets, np.arange(len(taken)))

    test = rows([5, 6], [7])
    check_held_out(test, {"train": rows([1, 2, 7], [3, 5]), "validation": rows([4], [8])})
    with pytest.raises(StageFailure, match=r"train rows 1 \(test 1\)"):
        check_held_out(test, {"train": rows([1, 2], [3, 7])})
