"""Files as people have them, made again here, through the whole dataset stage: each is read right or refused once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaon_jobs.errors import StageFailure

Make = Callable[..., Any]
CLASSES = ("neg", "pos")
CHINESE = ("酒店的服务很差，再也不来了", "房间干净，位置方便，推荐")


def rows(count: int = 24, text: str = "sample text number {}") -> list[tuple[str, str]]:
    return [(text.format(number), CLASSES[number % 2]) for number in range(count)]


def delimited(found: Sequence[tuple[str, str]], mark: str = ",", header: tuple[str, str] = ("text", "label")) -> str:
    return "".join(f"{mark.join(row)}\n" for row in (header, *found))


def json_lines(found: Sequence[tuple[str, Any]], label: str = "label") -> list[str]:
    return [json.dumps({"text": text, label: value}) for text, value in found]


def read_as(made: Any) -> dict[str, str]:
    (reading,) = made.card["sources"][0]["readAs"]
    return dict(reading)


def columns(text: str, label: str) -> dict[str, Any]:
    return {"schema": {"features": [{"name": text}], "label": {"name": label}}}


def refusal(make: Make, *sources: Any, **changes: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        make(*sources, **changes)
    assert not caught.value.retriable
    assert caught.value.message.endswith((".", "?"))
    return caught.value


@pytest.mark.parametrize("header", [("文本", "标签"), ("text", "label")])
def test_csv_of_a_chinese_spreadsheet_is_read_and_its_encoding_is_told(
    make: Make, tmp_path: Path, header: tuple[str, str]
) -> None:
    found = [(f"第{n}条评论 {CHINESE[n % 2]}", ("差评", "好评")[n % 2]) for n in range(24)]
    (tmp_path / "x.csv").write_bytes(delimited(found, header=header).encode("gb18030"))
    made = make("x.csv", **columns(*header))
    assert made.rows == 24
    assert made.result.dataset.classes == ["好评", "差评"]
    assert read_as(made) == {
        "format": "csv",
        "formatBy": "detected",
        "encoding": "gb18030",
        "encodingBy": "detected",
        "delimiter": ",",
        "delimiterBy": "detected",
    }
    assert "encoding gb18030 (detected)" in made.page


def test_a_declared_encoding_is_told_as_declared(make: Make, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(delimited(rows(text="text {} è")).encode("windows-1252"))
    made = make("x.csv", encoding="windows-1252", delimiter=",", format="csv")
    assert made.rows == 24
    assert {read_as(made)[name] for name in ("encodingBy", "delimiterBy", "formatBy")} == {"declared"}


def test_unicode_text_of_a_spreadsheet_is_read(make: Make, tmp_path: Path) -> None:
    text = delimited(rows(text="第{}条评论"), "\t", ("文本", "标签")).replace("\n", "\r\n")
    (tmp_path / "x.tsv").write_bytes(text.encode("utf-16"))
    made = make("x.tsv", **columns("文本", "标签"))
    assert (made.rows, read_as(made)["encoding"], read_as(made)["delimiter"]) == (24, "utf-16", "\t")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_delimiter_that_is_no_comma_is_found_and_told(make: Make, tmp_path: Path, mark: str) -> None:
    (tmp_path / "x.csv").write_text(delimited(rows(text="a, b and {}"), mark))
    made = make("x.csv")
    assert (made.rows, read_as(made)["delimiter"], read_as(made)["delimiterBy"]) == (24, mark, "detected")


def test_a_json_array_is_read(make: Make, tmp_path: Path) -> None:
    objects = [json.loads(line) for line in json_lines(rows(), "sentiment")]
    (tmp_path / "x.json").write_text(json.dumps(objects, indent=2))
    made = make("x.json", **columns("text", "sentiment"))
    assert (made.rows, made.result.dataset.classes, read_as(made)["format"]) == (24, ["neg", "pos"], "json")


def test_a_first_json_line_without_the_label_is_a_row_without_one(make: Make, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n".join(['{"text": "not labelled yet"}', *json_lines(rows())]))
    made = make("x.jsonl")
    assert (made.rows, made.result.dataset.quality.missing) == (25, 1)


def test_a_broken_json_line_is_named_by_its_number(make: Make, tmp_path: Path) -> None:
    found = json_lines(rows(240))
    found[199] = found[199][:-9]
    (tmp_path / "x.jsonl").write_text("\n".join(found))
    failure = refusal(make, "x.jsonl")
    assert failure.reason == "SourceUnreadable"
    assert "x.jsonl: 1 of 240 rows cannot be read. Row 200 (line 200): not JSON" in failure.message


def test_json_lines_with_another_label_name_the_columns_there_are(make: Make, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n" + "\n".join(json_lines(rows(), "category")))
    failure = refusal(make, "x.jsonl")
    assert failure.reason == "LabelColumnMissing"
    assert "has no column 'label'; it has text, category. Set spec.schema.label.name" in failure.message


def test_half_an_emoji_is_replaced_and_counted(make: Make, tmp_path: Path) -> None:
    found = json_lines(rows())
    found[7] = found[7].replace("number 7", r"number 7 \ud83d")
    (tmp_path / "x.jsonl").write_text("\n".join(found))
    made = make("x.jsonl")
    assert made.rows == 24
    assert made.card["sources"][0]["noticed"] == {"repaired": 1}
    assert "texts with half a surrogate pair" in made.page


def test_a_download_that_broke_off_is_refused_as_incomplete(make: Make, tmp_path: Path) -> None:
    whole = gzip.compress(delimited(rows(5000)).encode())
    (tmp_path / "x.csv.gz").write_bytes(whole[: len(whole) // 2])
    failure = refusal(make, "x.csv.gz")
    assert failure.reason == "SourceUnreadable"
    assert "x.csv.gz is incomplete" in failure.message


@pytest.mark.parametrize("mark", ["\t", ","])
def test_texts_that_begin_with_a_quotation_mark_swallow_no_rows(make: Make, tmp_path: Path, mark: str) -> None:
    found = rows(40, "the film number {} was shown")
    for number in (5, 20):
        found[number] = (f'"{found[number][0]}', found[number][1])
    (tmp_path / "x.tsv").write_text(delimited(found, mark))
    made = make("x.tsv")
    assert made.rows == 40
    assert made.card["sources"][0]["noticed"] == {"openQuotes": 2}


@pytest.mark.parametrize(
    ("value", "message"),
    [(["neg"], "a list, expected text"), ({"name": "neg"}, "an object, expected text")],
)
def test_a_label_that_is_no_text_is_refused_by_row(make: Make, tmp_path: Path, value: Any, message: str) -> None:
    (tmp_path / "x.jsonl").write_text("\n".join(json_lines([(text, value) for text, _ in rows()])))
    failure = refusal(make, "x.jsonl")
    assert f"Row 1 (line 1): the column 'label' holds {message}" in failure.message


def test_strings_that_are_stored_as_binary_are_read_as_utf8(make: Make, tmp_path: Path) -> None:
    texts, labels = zip(*rows(text="评论 {}"), strict=True)
    binary = pa.table({"text": pa.array(texts).cast(pa.binary()), "label": pa.array(labels).cast(pa.binary())})
    pq.write_table(binary, tmp_path / "x.parquet")
    made = make("x.parquet")
    assert (made.rows, made.result.dataset.classes) == (24, ["neg", "pos"])


def test_labels_written_as_1_and_as_1_0_are_one_class(make: Make, tmp_path: Path) -> None:
    found = [(f"text {n}", ("1", "0", "1.0", "0.0")[n % 4]) for n in range(40)]
    (tmp_path / "x.csv").write_text(delimited(found))
    assert make("x.csv").result.dataset.classes == ["0", "1"]


def test_equal_texts_are_named_as_the_cause(make: Make, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(delimited(rows(text="the same text")))
    message = refusal(make, "x.csv").message
    assert message.startswith("Of 24 rows, 23 repeat the text of an earlier row (first: ")


def test_a_test_file_without_labels_is_named_as_the_cause(make: Make, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(delimited(rows()))
    (tmp_path / "test.csv").write_text(delimited([(f"unseen {text}", "") for text, _ in rows()]))
    failure = refusal(make, {"name": "train.csv", "split": "train"}, {"name": "test.csv", "split": "test"})
    assert failure.reason == "TestLabelsMissing"
    assert "All 24 rows of the test source have no label, first " in failure.message


def test_the_same_file_for_train_and_test_is_named_as_the_cause(make: Make, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(delimited(rows()))
    failure = refusal(make, {"name": "train.csv", "split": "train"}, {"name": "train.csv", "split": "test"})
    assert failure.reason == "TrainSplitEmpty"
    assert "All 24 training rows stand in the test source" in failure.message


def test_lengths_of_unspaced_text_are_counted_in_characters(make: Make, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(delimited(rows(text="这家酒店很好{}")))
    assert make("x.csv").card["textLength"]["quantiles"]["0.5"] == 7
