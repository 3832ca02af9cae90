"""Rows of tables: what a value becomes by its column's type, in every format, and what is refused with its way out."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaon_jobs.data.cells import NO_TIME
from kaon_jobs.data.rows import Table
from kaon_jobs.errors import StageFailure

DAY = 86_400_000_000
Values = Callable[..., list[Any]]


def schema(*kinds: str, label: str = "label") -> dict[str, Any]:
    """Columns x0, x1 … of these types."""
    features = [{"name": f"x{at}", "type": kind} for at, kind in enumerate(kinds)]
    return {"features": features, "label": {"name": label}}


def column(values: Sequence[Any]) -> list[Any]:
    """A column as it is held, with None for what is missing."""
    return [None if value is None or value != value or value == NO_TIME else value for value in values]


@pytest.fixture
def read_table(read: Any) -> Callable[..., Table]:
    """Reads one file as a table."""

    def reading(name: str, *kinds: str, task: str = "tabular-classification", **changes: Any) -> Table:
        return read(name, task=task, schema=schema(*kinds), **changes)[0]

    return reading


@pytest.fixture
def csv_values(read_table: Any, tmp_path: Path) -> Values:
    """The values of one column of a CSV file."""

    def values(kind: str, *texts: str, **changes: Any) -> list[Any]:
        rows = "".join(f"{text};a\n" for text in texts)
        (tmp_path / "x.csv").write_text(f"x0;label\n{rows}", encoding="utf-8")
        return column(read_table("x.csv", kind, delimiter=";", **changes).features[0])

    return values


@pytest.fixture
def json_values(read_table: Any, tmp_path: Path) -> Values:
    """The values of one column of JSON lines."""

    def values(kind: str, *cells: Any, **changes: Any) -> list[Any]:
        (tmp_path / "x.jsonl").write_text("".join(json.dumps({"x0": cell, "label": "a"}) + "\n" for cell in cells))
        return column(read_table("x.jsonl", kind, **changes).features[0])

    return values


@pytest.fixture
def parquet_values(read_table: Any, tmp_path: Path) -> Values:
    """The values of one column of Parquet."""

    def values(kind: str, cells: pa.Array, **changes: Any) -> list[Any]:
        pq.write_table(pa.table({"x0": cells, "label": ["a"] * len(cells)}), tmp_path / "x.parquet")
        return column(read_table("x.parquet", kind, **changes).features[0])

    return values


# -- numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        (" 2.50 ", 2.5),
        ("+3", 3.0),
        ("-.5", -0.5),
        ("7.", 7.0),
        ("1e3", 1000.0),
        ("1.2E-3", 0.0012),
        ("007", 7.0),
        ("1e-999", 0.0),
        ("", None),
        ("   ", None),
        ("NaN", None),
        ("-nan", None),
    ],
)
def test_a_text_is_read_as_the_number_it_is(csv_values: Values, text: str, number: float | None) -> None:
    assert csv_values("number", text, "0") == [number, 0.0]


@pytest.mark.parametrize(
    ("text", "cause", "way_out"),
    [
        ("1,5", "digits with a comma, a space or another separator", "in decimal with a point, as 1234.5"),
        ("1,234.50", "digits with a comma, a space or another separator", "in decimal with a point, as 1234.5"),
        ("1.234.567", "digits with a comma, a space or another separator", "in decimal with a point, as 1234.5"),
        ("12 000", "digits with a comma, a space or another separator", "in decimal with a point, as 1234.5"),
        ("1_000", "digits with a comma, a space or another separator", "in decimal with a point, as 1234.5"),
        ("inf", "an infinite number", "list it in spec.clean.missingValues"),
        ("-Infinity", "an infinite number", "list it in spec.clean.missingValues"),
        ("0x10", "a text that is no decimal number", "If 'x0' holds no numbers, give it the type category"),
        ("12 %", "a text that is no decimal number", "in decimal with a point"),
        ("１２", "a text that is no decimal number", "in decimal with a point"),
        ("zqNA", "a text that is no decimal number", "leave it empty or list it in spec.clean.missingValues"),
        ("1e39", "a number beyond 3.4e38", "Mend it"),
        ("1e999", "a number beyond 3.4e38", "Mend it"),
        ("9" * 2000, "a text that is no decimal number", "in decimal with a point"),
    ],
)
def test_a_text_that_is_no_number_is_refused_with_what_would_work(
    csv_values: Values, text: str, cause: str, way_out: str
) -> None:
    with pytest.raises(StageFailure) as caught:
        csv_values("number", "1", text)
    told = caught.value.message
    assert (caught.value.reason, caught.value.retriable) == ("SourceUnreadable", False)
    assert "1 of 2 rows cannot be read. Row 2 (line 3): the column 'x0' holds " + cause in told
    assert way_out in told and "zqNA" not in told and f"holds {text}" not in told


@pytest.mark.parametrize("text", ["NA", "N/A", "null", "None", "?", "-", "-999"])
def test_a_text_means_a_missing_value_when_it_is_declared(csv_values: Values, text: str) -> None:
    assert csv_values("number", text, f" {text} ", "5", clean={"missingValues": [text]}) == [None, None, 5.0]


@pytest.mark.parametrize("text", ["NA", "?", "null", "-"])
def test_nothing_is_guessed_to_be_missing(csv_values: Values, text: str) -> None:
    with pytest.raises(StageFailure, match=r"list it in spec\.clean\.missingValues"):
        csv_values("number", text)
    assert csv_values("category", text) == [text]


def test_numbers_of_json_are_read_and_what_is_none_is_refused(json_values: Values) -> None:
    assert json_values("number", 1, 2.5, "3", None, math.nan, "", 10**20) == [1.0, 2.5, 3.0, None, None, None, 1e20]
    assert json_values("number", -999, 1, clean={"missingValues": ["-999"]}) == [None, 1.0]
    for cell, cause in (
        (True, "true or false"),
        ([1], "a list"),
        ({"value": 1}, "an object"),
        (10**400, "a number beyond 3.4e38"),
        (math.inf, "a number beyond 3.4e38"),
    ):
        with pytest.raises(StageFailure, match=f"Row 2 .*: the column 'x0' holds {cause}.*, expected a number"):
            json_values("number", 1, cell)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pa.array([1, None], pa.int8()), [1.0, None]),
        (pa.array([1.5, float("nan")], pa.float32()), [1.5, None]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.array([2**63], pa.uint64()), [float(2**63)]),
        (pa.array([Decimal("1.25"), None]), [1.25, None]),
        (pa.array(["1e3", ""]).dictionary_encode(), [1000.0, None]),
        (pa.array([b"7"], pa.binary()), [7.0]),
        (pa.array([3, 3, 4]).dictionary_encode(), [3.0, 3.0, 4.0]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_each_numeric_type_of_parquet_is_read(parquet_values: Values, cells: pa.Array, expected: list[Any]) -> None:
    assert parquet_values("number", cells) == expected


# -- categories ----------------------------------------------------------------------------------------------------


def test_categories_are_read_as_labels_are(csv_values: Values, json_values: Values, parquet_values: Values) -> None:
    assert csv_values("category", "1", "1.0", "2", "") == ["1", "1", "2", None]
    assert csv_values("category", "1", "1.0", "red") == ["1", "1.0", "red"]
    assert json_values("category", True, 1.0, "ü", None) == ["true", "1", "ü", None]
    assert parquet_values("category", pa.array([False, None, True])) == ["false", None, "true"]
    assert parquet_values("category", pa.array(["a", "b", "a"]).dictionary_encode()) == ["a", "b", "a"]
    with pytest.raises(StageFailure, match="the column 'x0' holds a list, expected text"):
        json_values("category", ["a"])
    with pytest.raises(StageFailure, match=r"half of a surrogate pair.* Write the values of 'x0' with whole"):
        json_values("category", "a\ud800")


def test_rows_of_one_category_share_it_in_memory(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0,label\n" + "a long category,a\n" * 3)
    values = read_table("x.csv", "category").features[0]
    assert values[0] is values[1] is values[2]


# -- points in time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-02", DAY),
        ("1970-01-01T12:00", DAY // 2),
        ("1970-01-01 12:00:00.5", DAY // 2 + 500_000),
        ("1970-01-01T12:00:00Z", DAY // 2),
        ("1970-01-01T12:00:00+06:00", DAY // 4),
        ("1969-12-31", -DAY),
        ("0001-01-01", -719_162 * DAY),
        ("9999-12-31", 2_932_896 * DAY),
        ("", None),
    ],
)
def test_iso_8601_is_read_in_utc(csv_values: Values, text: str, expected: int | None) -> None:
    assert csv_values("datetime", text) == [expected]


@pytest.mark.parametrize("text", ["03/01/2026", "2026-13-01", "2026", "yesterday", "23:45", "1.3.2026"])
def test_another_text_is_no_point_in_time(csv_values: Values, text: str) -> None:
    with pytest.raises(StageFailure) as caught:
        csv_values("datetime", text)
    told = caught.value.message
    assert (
        "the column 'x0' holds a text of another form, expected a date or time in ISO 8601. Write 'x0' as 2026-03-01"
        in told
    )
    assert text not in told.replace("2026-03-01", "")
    assert csv_values("datetime", text, clean={"missingValues": [text]}) == [None]


def test_a_time_beyond_the_years_that_can_be_written_is_refused(csv_values: Values, parquet_values: Values) -> None:
    with pytest.raises(StageFailure, match="a time outside of the years 1 to 9999"):
        csv_values("datetime", "0001-01-01T00:00+14:00")
    with pytest.raises(StageFailure, match=r"Row 2: the column 'x0' holds a time outside of the years 1 to 9999"):
        parquet_values("datetime", pa.array([0, 2**62], pa.timestamp("ms")))
    with pytest.raises(StageFailure, match="a time outside of the years 1 to 9999"):
        parquet_values("datetime", pa.array([2**31 - 1], pa.int32()).cast(pa.date32()))


def test_numbers_and_booleans_of_json_are_no_points_in_time(json_values: Values) -> None:
    for cell, what in ((1_700_000_000, "a number"), (True, "true or false"), ([], "a list")):
        with pytest.raises(StageFailure, match=f"holds {what}, expected a date or time in ISO 8601"):
            json_values("datetime", cell)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.timestamp("s"), DAY + 1_000_000),
        (pa.timestamp("ms", "Europe/Berlin"), DAY + 1_000_000),
        (pa.timestamp("us"), DAY + 1_000_000),
        (pa.timestamp("ns"), DAY + 1_000_000),
        (pa.date32(), DAY),
        (pa.date64(), DAY),
    ],
)
def test_dates_and_timestamps_of_parquet_are_read(parquet_values: Values, kind: pa.DataType, expected: int) -> None:
    moment = datetime.datetime(1970, 1, 2, 0, 0, 1, tzinfo=datetime.UTC)
    cells = pa.array([moment, None, moment], pa.timestamp("us", "UTC")).cast(kind, safe=False)
    assert parquet_values("datetime", cells) == [expected, None, expected]


def test_fractions_of_a_microsecond_are_cut_off(parquet_values: Values) -> None:
    assert parquet_values("datetime", pa.array([1_999, -1], pa.timestamp("ns"))) == [1, -1]


def test_iso_8601_in_a_parquet_column_of_text_is_read(parquet_values: Values) -> None:
    assert parquet_values("datetime", pa.array(["1970-01-02", None])) == [DAY, None]


@pytest.mark.parametrize(
    ("kind", "cells", "told"),
    [
        ("number", pa.array([True]), "holds bool, expected numbers or text. Write it as text, or give it the type cat"),
        ("number", pa.array([datetime.date(2026, 1, 1)]), "Write it as text, or give it the type datetime in spec.sch"),
        ("datetime", pa.array([1]), "holds int64, expected timestamps, dates or text. Write it as text, or give it th"),
        ("datetime", pa.array([datetime.time(1)]), "expected timestamps, dates or text. Write it as text."),
        (
            "category",
            pa.array([datetime.datetime(2026, 1, 1)]),
            "or give it the type datetime in spec.schema.features.",
        ),
        (
            "category",
            pa.array([[1]]),
            "holds list<element: int64>, expected text, numbers or booleans. Write it as text.",
        ),
    ],
)
def test_a_column_of_another_type_is_refused_with_the_type_that_fits(
    parquet_values: Values, kind: str, cells: pa.Array, told: str
) -> None:
    with pytest.raises(StageFailure) as caught:
        parquet_values(kind, cells)
    assert caught.value.reason == "ColumnTypeUnsupported"
    assert told in caught.value.message


# -- rows, labels and columns --------------------------------------------------------------------------------------


def test_every_format_gives_the_same_rows(read_table: Any, tmp_path: Path) -> None:
    kinds = "number", "category", "datetime"
    rows = [(number / 3, f"c{number % 4}", f"2026-01-{1 + number % 28:02}", number * 1.5) for number in range(99)]
    names = ("x0", "x1", "x2", "label")
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    (tmp_path / "x.csv").write_text("x1,other,label,x0,x2\n" + "".join(f"{b},,{y},{a},{t}\n" for a, b, t, y in rows))
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    (tmp_path / "x.json").write_text(json.dumps(objects, indent=1))
    days = pa.array([datetime.date.fromisoformat(row[2]) for row in rows])
    pq.write_table(pa.Table.from_pylist(objects).set_column(2, "x2", days), tmp_path / "x.parquet", row_group_size=40)
    for name in ("x.csv", "x.jsonl", "x.json", "x.parquet"):
        found = read_table(name, *kinds, task="tabular-regression")
        assert list(found.features[0]) == [row[0] for row in rows], name
        assert found.features[1] == [row[1] for row in rows], name
        moments = np.asarray(found.features[2]).view("datetime64[us]").astype("datetime64[D]")
        assert moments.astype(str).tolist() == [row[2] for row in rows], name
        assert list(found.targets) == [row[3] for row in rows] and found.labels == [], name
        assert found.numbers == list(range(1, 100))


def test_a_label_to_predict_as_a_number_is_read_as_one(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0,label\n1,1.50\n2,\n3,-2e1\n")
    assert column(read_table("x.csv", "number", task="tabular-regression").targets) == [1.5, None, -20.0]
    (tmp_path / "x.csv").write_text("x0,label\n1,zqcheap\n2,2\n")
    with pytest.raises(StageFailure) as caught:
        read_table("x.csv", "number", task="tabular-regression")
    told = caught.value.message
    assert "Row 1 (line 2): the column 'label' holds a text that is no decimal number, expected a number" in told
    assert "If labels are no numbers, set spec.task to a task of classes." in told and "zq" not in told


def test_declared_missing_values_hold_for_labels_and_texts_too(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\nNA,a\nb,NA\nc,na\n")
    table, _ = read("x.csv", clean={"missingValues": ["NA"]})
    assert (table.texts, table.labels) == ([None, "b", "c"], ["a", None, "na"])


def test_unreadable_values_are_counted_and_left_out_up_to_the_bound(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0,x1,label\n" + "1,2026-01-01,a\n" * 8 + "one,2026-01-01,a\n1,today,a\n")
    drop = {"unreadableRows": {"action": "drop", "max": 0.2}}
    table, (source,) = read("x.csv", task="tabular-classification", schema=schema("number", "datetime"), clean=drop)
    assert len(table) == 8 and source.unreadable == 2
    assert [example.split(": ", 1)[1] for example in source.examples] == [
        "the column 'x0' holds a text that is no decimal number, expected a number",
        "the column 'x1' holds a text of another form, expected a date or time in ISO 8601",
    ]
    assert list(map(len, table.features)) == [8, 8]


def test_missing_columns_are_named_together(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x 0,x1,label\n1,2,a\n")
    with pytest.raises(StageFailure) as caught:
        read_table("x.csv", "number", "number", "number")
    assert caught.value.reason == "FeatureColumnMissing"
    assert caught.value.message.endswith(
        "x.csv lacks 2 columns: 'x0', 'x2' among the 3 in its first line, and column 1 differs from the first of them "
        "only in case, spaces or signs. Mend their names in spec.schema.features. Is the first line the header?"
    )
    (tmp_path / "y.jsonl").write_text('{"x1": 1, "label": "a"}\n')
    with pytest.raises(
        StageFailure, match=r"y\.jsonl lacks 2 columns: 'x0', 'x2'; it has x1, label\. Mend their names"
    ):
        read_table("y.jsonl", "number", "number", "number")
    pq.write_table(pa.table({"x0": [1], "x0 ": [1], "label": ["a"]}), tmp_path / "z.parquet")
    with pytest.raises(
        StageFailure, match=r"has no column 'x1'; it has x0, x0 , label\. Set spec.schema.features to one"
    ):
        read_table("z.parquet", "number", "number")


def test_many_missing_columns_are_counted(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,label\n1,a\n")
    with pytest.raises(StageFailure, match=r"lacks 200 columns: 'x0', .*'x9' and 190 more among the 2"):
        read_table("x.csv", *["number"] * 200)


def test_a_feature_that_stands_twice_in_a_file_is_refused(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0,x1,x1,label\n1,2,3,a\n")
    with pytest.raises(StageFailure, match="has 2 columns of the name 'x1'") as caught:
        read_table("x.csv", "number", "number")
    assert caught.value.reason == "ColumnRepeated"


def test_a_key_that_a_row_lacks_is_a_missing_value(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"x0": 1, "label": "a"}\n{"x1": "b", "label": "a"}\n{"x0": 1, "x1": "c"}\n')
    table = read_table("x.jsonl", "number", "category")
    assert (column(table.features[0]), table.features[1]) == ([1.0, None, 1.0], [None, "b", "c"])
    assert table.labels == ["a", "a", None]


def test_rows_inside_of_another_key_are_told_with_a_short_example(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1, "data": {"x0": 1, "label": "a"}}\n')
    with pytest.raises(StageFailure) as caught:
        read_table("x.jsonl", *["number"] * 100)
    assert caught.value.reason == "FeatureColumnMissing"
    assert 'Write each row as {"x0": "…", "x1": "…", "x2": "…", "label": "…"}.' in caught.value.message


def test_a_header_that_nothing_divides_names_all_columns(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0^x1^label\n1^2^a\n")
    with pytest.raises(StageFailure, match="names all 3 columns, and neither comma, tab, semicolon nor bar divides it"):
        read_table("x.csv", "number", "number")


def test_an_open_quotation_mark_takes_no_rows_with_it(read_table: Any, tmp_path: Path) -> None:
    rows = "".join(f"{number},c{number % 3},{number}.5\n" for number in range(30))
    (tmp_path / "x.csv").write_text(f'x0,x1,label\n{rows}31,"open,31.5\n{rows}32,"two\nlines",7\n')
    table = read_table("x.csv", "number", "category", task="tabular-regression")
    assert len(table) == 62
    assert table.features[1][30] == '"open' and table.features[1][61] == "two\nlines"


def test_a_column_takes_eight_bytes_for_a_number(read_table: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x0,x1,label\n" + "1.5,2026-01-01,a\n" * 1000)
    table = read_table("x.csv", "number", "datetime")
    assert [np.asarray(values).nbytes for values in table.features] == [8000, 8000]


def test_rows_over_the_memory_budget_are_refused(read_table: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "x.csv").write_text("x0,label\n" + "1.5,a\n" * 1000)
    monkeypatch.setattr("kaon_jobs.data.budget.memory_limit", lambda: 500_000)
    monkeypatch.setattr("kaon_jobs.data.budget.memory_used", lambda: 0)
    with pytest.raises(StageFailure, match=r"and the rows up to it need .* bytes of memory, and 450,000 is the limit"):
        read_table("x.csv", "number")
