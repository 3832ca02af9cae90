"""What a refusal says to do is done here, and the file is read: a way out is tried before it is told."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaon_jobs.errors import StageFailure

Make = Callable[..., Any]
ROWS = [(f"sample text number {number}", ("neg", "pos")[number % 2]) for number in range(24)]


def table(header: str, row: str = "{text},{label}", rows: list[tuple[str, str]] = ROWS) -> str:
    return f"{header}\n" + "".join(row.format(text=text, label=label) + "\n" for text, label in rows)


def refusal(make: Make, *sources: Any, **changes: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        make(*sources, **changes)
    assert not caught.value.retriable
    return caught.value


@pytest.fixture
def again(make: Make, tmp_path: Path) -> Make:
    """Runs the stage over one file; may be called more than once in a test."""

    def making(content: str | bytes, name: str = "x.csv", **changes: Any) -> Any:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        if (tmp_path / ".work").exists():
            (tmp_path / ".work").rename(tmp_path / f".work-{len(list(tmp_path.iterdir()))}")
        return make(name, **changes)

    return making


@pytest.mark.parametrize(
    ("row", "width", "header"),
    [
        ("1,{text},{label}", 3, "id,text,label"),
        ("{text},{label},,,", 5, "text,label,a,b,c"),
    ],
)
def test_a_header_that_is_too_short_for_most_rows_is_to_be_completed(
    again: Make, row: str, width: int, header: str
) -> None:
    failure = refusal(again, table("text,label", row))
    assert f"24 rows have {width} fields: write {width} names into the header" in failure.message
    assert "drop" not in failure.message
    assert again(table(header, row)).rows == 24


def test_leaving_rows_out_is_told_with_a_limit_that_allows_it(again: Make) -> None:
    content = table("text,label") + "Total: 24\n"
    failure = refusal(again, content)
    assert "Row 25 (line 26): 1 field, the header has 2. Complete or remove rows that are too short" in failure.message
    assert failure.message.endswith(
        "Or set spec.clean.unreadableRows.action to drop and spec.clean.unreadableRows.max to 0.04 or more: they are "
        "left out and counted then."
    )
    dropped = {"clean": {"unreadableRows": {"action": "drop", "max": 0.04}}}
    assert again(content, **dropped).rows == 24


@pytest.mark.parametrize("broken", range(1, 12))
def test_a_told_limit_is_never_below_the_share_of_unreadable_rows(again: Make, broken: int) -> None:
    content = table("text,label") + "Total\n" * broken
    limit = math.ceil(1000 * broken / (24 + broken)) / 1000
    assert f"max to {limit:g} or more" in refusal(again, content).message
    assert again(content, clean={"unreadableRows": {"action": "drop", "max": limit}}).rows == 24


def test_rows_within_the_limit_need_no_higher_one(again: Make) -> None:
    many = [(f"text {number}", ("neg", "pos")[number % 2]) for number in range(200)]
    failure = refusal(again, table("text,label", rows=many) + "Total: 200\n")
    assert "Or set spec.clean.unreadableRows.action to drop: they are left out" in failure.message


def test_delimiters_at_the_end_of_a_row_are_to_be_removed(again: Make) -> None:
    failure = refusal(again, table("text,label") + "one more,neg,,\n")
    assert "Remove the delimiters at the end of rows that are too long." in failure.message


def test_quotation_marks_behind_backslashes_are_to_be_doubled(again: Make) -> None:
    failure = refusal(again, table("text,label", '"{text}",{label}') + '"he said \\"yes, it is\\" today",neg\n')
    assert 'Write a quotation mark inside of a field twice ("").' in failure.message
    assert "hold the delimiter" not in failure.message
    assert again(table("text,label", '"{text}",{label}') + '"he said ""yes, it is"" today",neg\n').rows == 25


@pytest.mark.parametrize("mark", ["^", "~", " ", "\x01"])
def test_a_header_that_nothing_usual_divides_asks_for_the_delimiter(again: Make, mark: str) -> None:
    content = table(f"text{mark}label", f'"{{text}}"{mark}{{label}}')
    failure = refusal(again, content)
    assert failure.reason == "DelimiterUnknown"
    assert "neither comma, tab, semicolon nor bar divides it. Set spec.delimiter" in failure.message
    assert again(content, delimiter=mark).rows == 24


def test_a_declared_delimiter_that_divides_nothing_is_named(again: Make) -> None:
    failure = refusal(again, table("text,label"), delimiter=";")
    assert "names both columns, and ';' does not divide it. Set spec.delimiter" in failure.message


@pytest.mark.parametrize("format_name", ["json", "jsonl"])
def test_json_under_the_name_of_csv_asks_for_the_format(again: Make, format_name: str) -> None:
    objects = [{"text": text, "label": label} for text, label in ROWS]
    content = json.dumps(objects) if format_name == "json" else "\n".join(map(json.dumps, objects))
    failure = refusal(again, content)
    assert failure.reason == "FormatUnknown"
    assert "begins like JSON" in failure.message and "Set spec.format to json or jsonl." in failure.message
    assert again(content, format=format_name).rows == 24


@pytest.mark.parametrize("format_name", ["json", "parquet"])
def test_csv_under_another_name_asks_for_the_format(again: Make, format_name: str) -> None:
    name = f"x.{format_name}"
    failure = refusal(again, table("text,label"), name)
    assert "set spec.format to what it is" in failure.message.replace("Set", "set")
    assert again(table("text,label"), name, format="csv").rows == 24


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda rows: {"data": rows},
        lambda rows: [{"id": number, "data": row} for number, row in enumerate(rows)],
        lambda rows: {str(number): row for number, row in enumerate(rows)},
    ],
)
def test_columns_inside_of_another_key_are_told_with_the_key_and_the_form_of_a_row(again: Make, wrapped: Any) -> None:
    rows = [{"text": text, "label": label} for text, label in ROWS]
    failure = refusal(again, json.dumps(wrapped(rows)), "x.json")
    assert failure.reason == "TextColumnMissing"
    assert "stand inside of 'data'" in failure.message or "stand inside of '0'" in failure.message
    assert 'Write each row as {"text": "…", "label": "…"}.' in failure.message
    assert "spec.schema" not in failure.message


def test_objects_over_several_lines_may_be_written_as_lines_or_as_an_array(again: Make) -> None:
    rows = [{"text": text, "label": label} for text, label in ROWS]
    failure = refusal(again, "\n".join(json.dumps(row, indent=2) for row in rows), "x.json")
    assert "as one JSON object on a line of its own, or all rows as one array of objects." in failure.message
    assert "drop" not in failure.message
    assert again(json.dumps(rows, indent=2), "x.json").rows == 24


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (",]", "A comma stands before the ']' that ends the array. Remove this comma."),
        (',\n{"text": "x", "label": pos}]', "Line 2 is not JSON (Expecting value)."),
        (',\n{"text": "x", "label": pos]', "Line 2 is not JSON (Expecting value)."),
        (',\n{"text": "x" "y"}]', "Line 2 is not JSON (Expecting ',' delimiter)."),
        (',\n{"text": "x", "label": "po', "The file ends within this row: it is incomplete."),
        (',\n{"text": "x", "label": nul', "The file ends within this row: it is incomplete."),
        (',\n{"text": "x", "label": "\\u00', "The file ends within this row: it is incomplete."),
        (',\n{"text": "x", ', "The file ends within this row: it is incomplete."),
        (",\n", "The file ends within this row: it is incomplete."),
    ],
)
def test_a_wrong_end_of_an_array_is_incomplete_only_when_more_must_follow(again: Make, end: str, told: str) -> None:
    rows = [{"text": text, "label": label} for text, label in ROWS]
    failure = refusal(again, json.dumps(rows)[:-1] + end, "x.json")
    assert told in failure.message
    assert "row 25 " in failure.message


def test_a_file_that_was_compressed_twice_is_to_be_decompressed_once(again: Make) -> None:
    once = gzip.compress(table("text,label").encode())
    failure = refusal(again, gzip.compress(once), "x.csv.gz")
    assert "is compressed twice" in failure.message and "encoding" not in failure.message
    assert again(once, "x.csv.gz").rows == 24


def test_turkish_text_with_a_dotted_capital_is_read(again: Make) -> None:
    rows = [(f"İstanbul'da güzel bir gün {number}", ("kötü", "iyi")[number % 2]) for number in range(24)]
    made = again(table("text;label", "{text};{label}", rows).encode("cp1254"))
    (reading,) = made.card["sources"][0]["readAs"]
    assert reading["encoding"] == "windows-1254"
    assert made.result.dataset.classes == ["iyi", "kötü"]


def test_quotation_marks_with_spaces_around_them_are_no_part_of_a_value(again: Make) -> None:
    made = again(table('"text" , "label"', '"{text}" , "{label}"'))
    assert made.result.dataset.classes == ["neg", "pos"]


def test_a_total_below_the_rows_is_named_as_the_row_of_a_class_that_is_too_small(again: Make) -> None:
    failure = refusal(again, table("text,label") + "Total,24\n")
    assert failure.reason == "ClassTooSmall"
    assert "Classes with too few: 1. The first row of each, and its number of rows: file:///" in failure.message
    assert "x.csv row 25 (1). Add rows" in failure.message


def test_a_class_that_was_not_given_is_named_with_its_first_row(again: Make) -> None:
    schema = {"features": [{"name": "text"}], "label": {"name": "label", "classes": ["neg", "pos"]}}
    failure = refusal(again, table("text,label") + "one,Pos\ntwo,Pos\nthree,Pos\n", schema=schema)
    assert "3 rows have a label that is not in spec.schema.label.classes (different labels: 1)." in failure.message
    assert "x.csv row 25. Add the class" in failure.message
