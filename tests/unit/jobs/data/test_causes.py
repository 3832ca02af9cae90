"""Rows that cannot be divided: the message names the true cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaon_jobs.errors import StageFailure

ROWS = [f"text {number},{'ab'[number % 2]}" for number in range(24)]
TRAIN = {"name": "train.csv", "split": "train"}
TEST = {"name": "test.csv", "split": "test"}


def write(path: Path, rows: list[str]) -> None:
    path.write_text("text,label\n" + "\n".join(rows) + "\n")


def refused(make: Any, *sources: Any, **changes: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        make(*sources, **changes)
    return caught.value


@pytest.mark.parametrize(
    ("rows", "reason", "message"),
    [
        (
            [f"{row.split(',')[0]}x," for row in ROWS],
            "TestLabelsMissing",
            "All 24 rows of the test source have no label",
        ),
        ([",a", "b,"], "TestRowsMissing", "None of the 2 rows of the test source has both text and label"),
        (ROWS, "TrainSplitEmpty", "All 24 training rows stand in the test source"),
    ],
)
def test_a_test_source_that_cannot_be_one_is_named(
    make: Any, tmp_path: Path, rows: list[str], reason: str, message: str
) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "test.csv", rows)
    failure = refused(make, TRAIN, TEST)
    assert (failure.reason, failure.retriable) == (reason, False)
    assert failure.message.startswith(message)


def test_a_source_without_any_label_is_named(make: Any, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", [f"text {number}," for number in range(5)])
    failure = refused(make, "x.csv")
    assert failure.reason == "SourceEmpty"
    assert "No row is left to divide. Of 5 rows, 5 have no label (first: " in failure.message


@pytest.mark.parametrize("method", ["exact", "none"])
@pytest.mark.parametrize("stratify", [True, False])
def test_equal_texts_are_the_cause_under_every_setting(make: Any, tmp_path: Path, method: str, stratify: bool) -> None:
    write(tmp_path / "x.csv", [f"same,{'ab'[number % 2]}" for number in range(24)])
    split = {"stratify": stratify, "validation": 0.2}
    message = refused(make, "x.csv", clean={"duplicates": {"method": method}}, split=split).message
    expected = (
        "23 repeat the text of an earlier row" if method == "exact" else "Every training row has the text of a test"
    )
    assert expected in message


def test_what_cleaning_took_is_told_behind_another_cause(make: Any, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", [*ROWS, "text 1,b", "rare,c"])
    message = refused(make, "x.csv").message
    assert message.startswith("A stratified split needs at least 3 rows of each class. Classes with too few: 1.")
    assert "x.csv row 26 (1). Add rows" in message
    assert message.endswith("row 25); these were left out.")


@pytest.mark.parametrize(
    ("sources", "split", "message"),
    [
        (["x.csv"], {"test": 0}, "no source has split: test, and spec.split.test is 0"),
        ([{"name": "x.csv", "split": "train"}], {}, "every source has split: train"),
        (["x.csv"], {"test": 0.01, "stratify": False}, "a share of 0.01 of 24 rows is none"),
    ],
)
def test_why_there_are_no_test_rows_is_told(
    make: Any, tmp_path: Path, sources: list[Any], split: dict[str, Any], message: str
) -> None:
    write(tmp_path / "x.csv", ROWS)
    failure = refused(make, *sources, split=split)
    assert failure.reason == "TestSplitEmpty"
    assert message in failure.message


def test_test_sources_alone_leave_nothing_to_train_on(make: Any, tmp_path: Path) -> None:
    write(tmp_path / "test.csv", ROWS)
    assert refused(make, TEST).message.startswith("All 24 rows are the test split, so none is left to train on.")
