"""The demo's data: how a table becomes the csv that a Dataset reads."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from demo import data

TABLE = 'Category\tText\nd\tstring\nclass\t\n\nearn\tprofit rose, "sharply"\nacq\ta deal\n'


def test_a_table_becomes_rows_of_text_and_label() -> None:
    assert data.parse_table(TABLE) == [('profit rose, "sharply"', "earn"), ("a deal", "acq")]


def test_a_table_of_other_columns_is_refused() -> None:
    with pytest.raises(data.DataError, match="not Category and Text"):
        data.parse_table("Label\tBody\n")


def test_quotes_and_commas_survive_the_csv(tmp_path: Path) -> None:
    data.write_csv(tmp_path / "train.csv", data.parse_table(TABLE))
    with (tmp_path / "train.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["text", "label"], ['profit rose, "sharply"', "earn"], ["a deal", "acq"]]


def test_films_stand_beside_their_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = "user_id:token\titem_id:token\tr\tt\n1\t9\t5\t10\n2\t8\t4\t11\n"
    films = "item_id:token\ttitle\tyear\tkinds\n9\tToy Story\t1995\tAnimation\n"
    with pytest.raises(data.DataError, match="has 2 rows, not 100000"):
        data.with_films(ratings, films)
    monkeypatch.setattr(data, "FILM_RATINGS", 2)
    assert data.with_films(ratings, films) == (
        "user_id:token\titem_id:token\tr\tt\tfilm\n1\t9\t5\t10\tToy Story Animation\n2\t8\t4\t11\t\n"
    )
