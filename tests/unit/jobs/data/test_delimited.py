"""CSV and TSV: rows that agree with lines, quotation marks, and what is said of rows that do not fit."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from kaon_jobs.errors import StageFailure

DROP = {"unreadableRows": {"action": "drop", "max": 0.5}}


def test_quoted_newlines_are_kept_and_only_nothing_is_missing(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('id,label,text\n1,NA,"two\nlines"\n2,,text\n3,null,"a, ""b"""\n')
    found, _ = read("x.csv")
    assert list(zip(found.texts, found.labels, strict=True)) == [
        ("two\nlines", "NA"),
        ("text", None),
        ('a, "b"', "null"),
    ]
    assert found.numbers == [1, 2, 3]


def test_a_byte_order_mark_and_gzip_are_read(read: Any, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "x.tsv.gz", "wb") as file:
        file.write("\ufefftext\tlabel\nhé\ta\n".encode())
    assert read("x.tsv.gz")[0].texts == ["hé"]


@pytest.mark.parametrize("mark", [",", "\t", ";", "|"])
@pytest.mark.parametrize(
    ("end", "quoting"),
    [("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)],
)
def test_what_a_writer_of_csv_writes_comes_back(read: Any, tmp_path: Path, end: str, mark: str, quoting: int) -> None:
    texts = [
        "plain",
        'says "so"',
        f"with {mark} in it",
        "two\nlines",
        '"',
        '""',
        f'"{mark}"',
        'ends with "',
        "a\n\nb,c",
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=mark, lineterminator=end, quoting=quoting)
    writer.writerow(("text", "label"))
    writer.writerows((text, "xy"[number % 2]) for number, text in enumerate(texts))
    (tmp_path / "x.csv").write_bytes(buffer.getvalue().encode())
    table, (source,) = read("x.csv")
    assert table.texts == texts
    assert not source.noticed


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ('"never closed', '"never closed'),
        ('"So" he said', '"So" he said'),
        ('He said "so', 'He said "so'),
        ('"in marks"', "in marks"),
        ('"The "best" film"', 'The "best" film'),
    ],
)
@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_stray_quotation_mark_is_text_and_no_row_is_lost(
    read: Any, tmp_path: Path, row: str, text: str, at: int
) -> None:
    lines = [f"text {number}\t{'ab'[number % 2]}" for number in range(10)]
    lines[at] = f"{row}\t{'ab'[at % 2]}"
    (tmp_path / "x.tsv").write_text("\n".join(["text\tlabel", *lines]))
    table, _ = read("x.tsv")
    assert len(table) == 10
    assert table.texts[at] == text
    assert table.numbers == list(range(1, 11))


def test_a_quotation_mark_that_another_row_closes_swallows_nothing(read: Any, tmp_path: Path) -> None:
    lines = [f"text {number}\t{'ab'[number % 2]}" for number in range(20)]
    lines[3] = '"opened\tb'
    lines[11] = 'closed"\tb'
    (tmp_path / "x.tsv").write_text("\n".join(["text\tlabel", *lines]))
    table, (source,) = read("x.tsv")
    assert len(table) == 20
    assert source.noticed["openQuotes"] == 1


def test_texts_that_all_begin_with_a_stray_quotation_mark_are_rows_each(read: Any, tmp_path: Path) -> None:
    rows = "".join(f'"text {number}\t{"ab"[number % 2]}\n' for number in range(20))
    (tmp_path / "x.tsv").write_text(f"text\tlabel\n{rows}")
    table, (source,) = read("x.tsv")
    assert table.texts == [f'"text {number}' for number in range(20)]
    assert source.noticed["openQuotes"] == 20


def test_texts_that_all_span_lines_stay_whole(read: Any, tmp_path: Path) -> None:
    rows = "".join(f'"first, {number}\nlast",{"ab"[number % 2]}\n' for number in range(20))
    (tmp_path / "x.csv").write_text(f"text,label\n{rows}")
    table, (source,) = read("x.csv")
    assert (len(table), source.noticed["openQuotes"]) == (20, 0)


def test_an_opened_quotation_mark_takes_no_row_with_it_that_is_whole(read: Any, tmp_path: Path) -> None:
    rows = [f"text {number},{'ab'[number % 2]}" for number in range(20)]
    rows[7:10] = ['"opened,of no class', "whole,b", '"whole, too",a']
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *rows]))
    schema = {"features": [{"name": "text"}], "label": {"name": "label"}}
    table, (source,) = read("x.csv", clean=DROP, schema=schema)
    assert (len(table), source.unreadable) == (19, 1)
    assert set(table.labels) == {"a", "b"}
    assert {"whole", "whole, too"} <= set(table.texts)


def test_a_quoted_text_whose_lines_look_like_rows_stays_one_text(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text,label\nplain,a\n"first, line\nsecond, line",b\nplain too,b\n')
    assert read("x.csv")[0].texts == ["plain", "first, line\nsecond, line", "plain too"]


def test_a_text_that_is_csv_itself_stays_one_text(read: Any, tmp_path: Path) -> None:
    texts = ["text,label\ngood,a\nbad,b\nnone", "good,a\nbad,b", 'text,label\n"good",a\n"bad",b']
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("text", "label"), *zip([*texts, "x", "y"], "ababa", strict=True)])
    (tmp_path / "x.csv").write_text(buffer.getvalue())
    table, (source,) = read("x.csv")
    assert table.texts == [*(text.replace("\r\n", "\n") for text in texts), "x", "y"]
    assert not source.noticed


RAGGED = "text,label\none,a\n\ntwo,a,b\nthree\n   \nfour,b\n"


def test_ragged_rows_are_refused_with_row_and_line(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(RAGGED)
    with pytest.raises(StageFailure) as caught:
        read("x.csv")
    assert caught.value.reason == "SourceUnreadable"
    assert (
        "x.csv: 2 of 4 rows cannot be read. Row 2 (line 4): 3 fields, the header has 2. Row 3 (line 5): 1 field, the "
        "header has 2." in caught.value.message
    )
    assert "spec.clean.unreadableRows" in caught.value.message


def test_ragged_rows_are_dropped_and_counted_when_asked_to(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(RAGGED)
    table, (source,) = read("x.csv", clean=DROP)
    assert (table.texts, table.numbers) == (["one", "four"], [1, 4])
    assert (source.rows, source.unreadable, source.noticed["blankLines"]) == (2, 2, 2)
    assert source.examples[0].endswith("x.csv row 2 (line 4): 3 fields, the header has 2")


def test_more_unreadable_rows_than_allowed_are_refused_with_both_figures(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(RAGGED)
    rules = {"unreadableRows": {"action": "drop", "max": 0.4}}
    with pytest.raises(
        StageFailure, match=r"2 of 4 rows cannot be read, and .*max allows a share of 0\.4\. The first: "
    ):
        read("x.csv", clean=rules)


def test_dropped_rows_are_in_the_status_and_the_card(make: Any, tmp_path: Path) -> None:
    rows = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(60))
    (tmp_path / "x.csv").write_text(f"text,label\nbad,row,here\n{rows}")
    made = make("x.csv", clean={"unreadableRows": {"action": "drop", "max": 0.05}})
    quality = made.result.dataset.quality
    assert (quality.rows_read, quality.unreadable, quality.unreadable_ratio) == (60, 1, round(1 / 61, 6))
    assert made.card["sources"][0]["unreadable"]["rows"] == 1
    assert "rows that could not be read, left out" in made.page


def test_bad_bytes_are_refused_with_row_and_line(read: Any, tmp_path: Path) -> None:
    good = "".join(f"schön {number},a\n" for number in range(50)).encode()
    (tmp_path / "x.csv").write_bytes(b"text,label\n" + good + b"sch\xf6n,b\n" + good)
    with pytest.raises(StageFailure, match=r"1 of 101 rows.*Row 51 \(line 52\): bytes that are no text") as caught:
        read("x.csv")
    assert "set spec.encoding" in caught.value.message


def test_a_wanted_column_that_occurs_twice_is_refused_and_another_is_told(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label,label\na,b,c\n")
    with pytest.raises(StageFailure, match="2 columns of the name 'label'") as caught:
        read("x.csv")
    assert caught.value.reason == "ColumnRepeated"
    (tmp_path / "y.csv").write_text("text,label,note,note\na,b,c,d\n")
    assert read("y.csv")[1][0].noticed["repeatedColumns"] == 1


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        (
            "words,label\na,b\n",
            "TextColumnMissing",
            "'text' among the 2 in its first line. Set spec.schema.features",
        ),
        ("text,kind\na,b\n", "LabelColumnMissing", "'label' among the 2 in its first line. Set spec.schema.label"),
        ("words;label\na;b\n", "TextColumnMissing", "'text' among the 2 in its first line"),
        ("Te xt,label\na,b\n", "TextColumnMissing", "first line, and column 1 differs from it only in case, spaces or"),
    ],
)
def test_a_missing_column_is_refused_with_the_number_of_columns_there_are(
    read: Any, tmp_path: Path, content: str, reason: str, message: str
) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(StageFailure, match=message) as caught:
        read("x.csv")
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_names_that_cannot_be_written_do_not_get_into_a_message(read: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('[{"t\\udc00": "a"}]')
    with pytest.raises(StageFailure, match=r"no column 'text'; it has te?\ufffd") as caught:
        read(name, encoding="utf-8")
    assert caught.value.message.isprintable()


def test_a_header_with_another_delimiter_than_the_rows_is_told(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\na;b\nc;d\n")
    with pytest.raises(StageFailure, match=r"The header is divided by ',', and no row is\. Set spec\.delimiter"):
        read("x.csv")


@pytest.mark.parametrize("delimiter", ["tab", "\t"])
def test_a_declared_delimiter_holds(read: Any, tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "x.csv").write_text("text\tlabel\na, b\tx\n")
    assert read("x.csv", delimiter=delimiter)[0].texts == ["a, b"]
    with pytest.raises(StageFailure, match="names both columns, and ';' does not divide it"):
        read("x.csv", delimiter=";")


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "\ufeffSEP=;\r"])
def test_the_line_in_which_a_spreadsheet_names_its_delimiter_is_no_header(read: Any, tmp_path: Path, line: str) -> None:
    (tmp_path / "x.csv").write_text(f"{line}\ntext;label\na, b;x\n", encoding="utf-8")
    assert read("x.csv")[0].texts == ["a, b"]


def test_spaces_behind_delimiters_are_no_part_of_names_or_fields(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('text, label\n"a, b", "x"\nc, y\n')
    table, _ = read("x.csv")
    assert (table.texts, table.labels) == (["a, b", "c"], ["x", "y"])


def test_a_row_with_nul_characters_is_unreadable(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n" + "good text,a\n" * 50 + "\0\0,b\n")
    with pytest.raises(
        StageFailure, match=r"Row 51 \(line 52\): the column 'text' holds text with the character U\+0000"
    ):
        read("x.csv")


def test_a_field_of_a_megabyte_is_read(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f'text,label\n"{"word " * 200_000}",a\n')
    assert len(read("x.csv")[0].texts[0] or "") == 999_999
