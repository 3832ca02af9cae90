"""What contenders are given and leave: rows without padding, one score for the whole budget, failures as results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from contract import Case, Made, NotPossible, Rows, read_case, read_result, read_rows, timed, write_result, write_rows
from scores import Budget


@pytest.fixture
def texts() -> Rows:
    return Rows(
        {
            "input_ids": np.array([[5, 6, 7, 0], [5, 6, 0, 0]], dtype=np.int64),
            "attention_mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=np.int64),
        },
        labels=np.array([0, 1]),
        baseline=np.array([0, 1]),
    )


def case(folder: Path) -> Case:
    return Case(folder, "tiny", "text", ["a", "b"], Budget(0.01, 0.02), threads=2, served_with=["tokenizer.json"])


def test_a_text_is_asked_without_its_padding(texts: Rows) -> None:
    assert texts.feed(1)["input_ids"].tolist() == [[5, 6]]


def test_a_text_keeps_its_padding_where_the_length_is_fixed(texts: Rows) -> None:
    assert texts.feed(1, fixed_length=True)["input_ids"].tolist() == [[5, 6, 0, 0]]


def test_an_image_is_asked_as_it_is() -> None:
    rows = Rows({"image": np.ones((2, 1, 3, 3), dtype=np.float32)}, np.array([0, 1]), np.array([0, 1]))
    assert rows.feed(0)["image"].shape == (1, 1, 3, 3)


def test_rows_survive_their_file(texts: Rows, tmp_path: Path) -> None:
    write_rows(tmp_path / "test.npz", texts)
    read = read_rows(tmp_path / "test.npz")
    assert list(read.inputs) == ["input_ids", "attention_mask"]
    assert read.labels.tolist() == [0, 1]


def test_a_case_survives_its_file(tmp_path: Path) -> None:
    case(tmp_path).write()
    assert read_case(tmp_path) == case(tmp_path)


def test_the_validation_score_is_one_for_the_baseline_and_falls_with_what_is_spent(tmp_path: Path) -> None:
    labels = np.arange(200) % 2
    rows = Rows({}, labels, baseline=labels)
    assert case(tmp_path).validation_score(rows, labels) == pytest.approx(1.0)
    two_wrong = labels.copy()
    two_wrong[:2] = 1 - two_wrong[:2]
    assert case(tmp_path).validation_score(rows, two_wrong) == pytest.approx(0.99)
    three_wrong = labels.copy()
    three_wrong[:3] = 1 - three_wrong[:3]
    assert case(tmp_path).validation_score(rows, three_wrong) < 0.99


def test_what_was_made_survives_its_file(tmp_path: Path) -> None:
    result = timed(lambda case, out: Made("halved", files=("a", "b")), case(tmp_path), tmp_path, "tool 1.0")
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


def test_a_contender_that_cannot_do_a_case_says_why(tmp_path: Path) -> None:
    def refuse(case: Case, out: Path) -> Made:
        raise NotPossible("not for tables")

    result = timed(refuse, case(tmp_path), tmp_path, "tool 1.0")
    assert (result.made, result.failure) == (None, "not for tables")


def test_a_contender_that_breaks_is_a_result_and_not_the_end_of_the_benchmark(tmp_path: Path) -> None:
    def break_down(case: Case, out: Path) -> Made:
        raise ValueError("bad shape\nand more")

    assert timed(break_down, case(tmp_path), tmp_path, "tool 1.0").failure == "ValueError: bad shape"
