"""JSON lines and JSON arrays: rows, what is refused by line, and files that break off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaon_jobs.errors import StageFailure

GOOD = '{"text": "a", "label": "x"}'
DROP = {"unreadableRows": {"action": "drop", "max": 0.5}}


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{broken", "not JSON at column 2"),
        ("[1]", "a list, expected a JSON object"),
        ("3", "a number, expected a JSON object"),
        ("null", "null, expected a JSON object"),
        ('{"text": "a"} {"text": "b"}', "not JSON at column 15 (Extra data)"),
        ('{"text": "a", "text": "b", "label": "x"}', "the key 'text' stands in it more than once"),
        ('{"text": ["a"], "label": "x"}', "the column 'text' holds a list, expected text"),
        ('{"text": {"a": 1}, "label": "x"}', "the column 'text' holds an object, expected text"),
        (
            '{"text": "a", "label": Infinity}',
            "the column 'label' holds an infinite number, expected a finite one or text",
        ),
        ('{"text": "a", "label": "\\ud83d"}', "the column 'label' holds half of a surrogate pair"),
        ('{"text": "a\\u0000b", "label": "x"}', "the column 'text' holds text with the character U+0000"),
        (f'{{"text": {"9" * 5000}, "label": "x"}}', "a number of thousands of digits"),
        ("[" * 100_000, "JSON that is nested too deep"),
    ],
)
@pytest.mark.parametrize("drop", [False, True])
def test_a_line_that_is_no_row_is_named_or_dropped_and_counted(
    read: Any, tmp_path: Path, line: str, cause: str, drop: bool
) -> None:
    (tmp_path / "x.jsonl").write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    if drop:
        table, (source,) = read("x.jsonl", clean=DROP, format="jsonl")
        assert (len(table), table.numbers, source.unreadable) == (2, [1, 3], 1)
        return
    with pytest.raises(StageFailure) as caught:
        read("x.jsonl", format="jsonl")
    assert f"1 of 3 rows cannot be read. Row 2 (line 3): {cause}" in caught.value.message
    assert not caught.value.retriable


def test_bytes_that_are_no_utf8_are_named_by_line(read: Any, tmp_path: Path) -> None:
    lines = [f'{{"text": "schön {number}", "label": "x"}}'.encode() for number in range(30)]
    lines[11] = lines[11].replace("ö".encode(), b"\xf6")
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(StageFailure, match=r"Row 12 \(line 12\): bytes that are no text"):
        read("x.jsonl")


def test_values_of_json_have_one_text_each(read: Any, tmp_path: Path) -> None:
    values = ["a", 1, 1.0, True, 0.5, None, float("nan"), " ", -0.0]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"text": "t", "label": value}) for value in values))
    assert read("x.jsonl")[0].labels == ["a", "1", "1", "true", "0.5", None, None, None, "0"]


def test_a_column_that_no_line_has_is_refused_with_the_columns_of_all_lines(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "b", "kind": "x"}\n')
    with pytest.raises(StageFailure, match="it has text, kind") as caught:
        read("x.jsonl")
    assert caught.value.reason == "LabelColumnMissing"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_an_array_of_any_length_is_read_in_pieces(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, name: str
) -> None:
    monkeypatch.setattr("kaon_jobs.data.jsontext._BUFFER_CHARACTERS", 37)
    monkeypatch.setattr("kaon_jobs.data.encoding._PIECE_CHARACTERS", 11)
    rows = [
        {"text": f"text ] }} , {number} " * (number % 7 + 1), "label": number % 2, "at": [{}]} for number in range(99)
    ]
    (tmp_path / name).write_text(json.dumps(rows, indent=indent))
    table, (source,) = read(name)
    assert table.texts == [str(row["text"]).strip() for row in rows]
    assert source.readings[0].format == "json"


def test_json_lines_under_the_name_of_json_are_read(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f"{GOOD}\n{GOOD}\n")
    _, (source,) = read("x.json")
    assert (source.rows, source.readings[0].format) == (2, "jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"[{GOOD},\n {GOOD}", r"from row 2 \(line 2\) on\. After this row the file ends where ',' or '\]' must be"),
        (f"[{GOOD},\n {GOOD[:-4]}", r"from row 2 \(line 2\) on\. The file ends within this row: it is incomplete"),
        (f"[{GOOD},\n {{broken: 1}}", r"row 2 \(line 2\) on\. Line 2 is not JSON"),
        (f"[{GOOD}\n {GOOD}]", r"row 1 \(line 2\) on\. After this row another character stands where"),
        (f"[{GOOD}]\n[{GOOD}]", "More text follows after the end of the array"),
        (
            f"[{GOOD},\n ]",
            r"row 2 \(line 2\) on\. A comma stands before the '\]' that ends the array\. Remove this comma",
        ),
        (f"[{GOOD},\n {'[' * 100_000}", "It holds JSON that is nested too deep"),
        (f'[{GOOD},\n ["a"]]', r"1 of 2 rows cannot be read. Row 2 \(line 2\): a list, expected a JSON object"),
    ],
)
def test_an_array_that_is_broken_is_refused_with_its_place(
    read: Any, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(StageFailure, match=message) as caught:
        read("x.json")
    assert (caught.value.reason, caught.value.retriable) == ("SourceUnreadable", False)


def test_an_object_over_several_lines_is_no_array_and_told(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"data": [json.loads(GOOD)]}, indent=2))
    with pytest.raises(StageFailure, match=r"Row 1 \(line 1\): not JSON") as caught:
        read("x.json")
    assert "Write each row as one JSON object on a line of its own" in caught.value.message


def test_an_empty_array_has_no_rows(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(" [ ] ")
    with pytest.raises(StageFailure) as caught:
        read("x.json")
    assert caught.value.reason == "SourceEmpty"


def test_a_declared_array_that_is_none_is_refused(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f"{GOOD}\n{GOOD}\n")
    with pytest.raises(StageFailure, match=r"is not a JSON array\. Set spec\.format to jsonl"):
        read("x.json", format="json")
