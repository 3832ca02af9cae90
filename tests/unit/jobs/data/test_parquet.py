"""Parquet: every type that can be text, and files that are damaged."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaon_jobs.errors import StageFailure

STRINGS = ["neg", "pos", None, "pos"]


def write(path: Path, label: pa.Array, text: pa.Array | None = None) -> None:
    pq.write_table(pa.table({"text": text if text is not None else ["t"] * len(label), "label": label}), path)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (pa.array(STRINGS), STRINGS),
        (pa.array(STRINGS, pa.large_string()), STRINGS),
        (pa.array(STRINGS, pa.string_view()), STRINGS),
        (pa.array(STRINGS).cast(pa.binary()), STRINGS),
        (pa.array(STRINGS).cast(pa.large_binary()), STRINGS),
        (pa.array([b"neg", b"pos"], pa.binary(3)), ["neg", "pos"]),
        (pa.array(STRINGS).dictionary_encode(), STRINGS),
        (pa.array([1, 0, None], pa.int8()), ["1", "0", None]),
        (pa.array([1, 0], pa.uint64()).dictionary_encode(), ["1", "0"]),
        (pa.array([1.0, 0.5, float("nan"), None]), ["1", "0.5", None, None]),
        (pa.array([Decimal("1.00"), Decimal("2.50")]), ["1", "2.5"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_each_type_of_column_has_its_text(
    read: Any, tmp_path: Path, label: pa.Array, expected: list[str | None]
) -> None:
    write(tmp_path / "x.parquet", label)
    assert read("x.parquet")[0].labels == expected


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (pa.array([["neg"], ["pos"]]), "list<"),
        (pa.array([{"name": "neg"}]), "struct<"),
        (pa.array([datetime.datetime(2026, 1, 1)]), "timestamp"),
        (pa.array([datetime.date(2026, 1, 1)]), "date32"),
    ],
)
def test_a_column_that_is_no_text_is_refused_with_its_type(
    read: Any, tmp_path: Path, label: pa.Array, kind: str
) -> None:
    write(tmp_path / "x.parquet", label)
    with pytest.raises(
        StageFailure, match=f"The column 'label' of .*x.parquet holds {kind}.*Write it as text"
    ) as caught:
        read("x.parquet")
    assert caught.value.reason == "ColumnTypeUnsupported"


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()])
def test_bytes_that_are_no_utf8_are_refused_by_row(read: Any, tmp_path: Path, kind: pa.DataType) -> None:
    raw = pa.array([b"good", b"b\xe9d"], pa.binary())
    text = raw if kind == pa.binary() else pa.Array.from_buffers(kind, 2, raw.buffers())
    write(tmp_path / "x.parquet", pa.array(["a", "b"]), text)
    with pytest.raises(StageFailure, match=r"Row 2: the column 'text' holds bytes that are not UTF-8 from byte 2 on"):
        read("x.parquet")


def test_two_label_columns_are_refused(read: Any, tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array(["x"]), pa.array(["y"])]
    pq.write_table(pa.Table.from_arrays(columns, ["text", "label", "label"]), tmp_path / "x.parquet")
    with pytest.raises(StageFailure, match="has 2 columns of the name 'label'"):
        read("x.parquet")


def test_column_names_with_dots_are_names(read: Any, tmp_path: Path) -> None:
    table = pa.table({"a.text": ["x"], "a": [{"text": "y"}], "label": ["z"]})
    pq.write_table(table, tmp_path / "x.parquet")
    schema = {"features": [{"name": "a.text"}], "label": {"name": "label"}}
    assert read("x.parquet", schema=schema)[0].texts == ["x"]


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_each_encoding_and_any_number_of_row_groups_gives_the_same_rows(
    read: Any, tmp_path: Path, encoding: str
) -> None:
    texts = [None if number % 7 == 0 else f"text {number % 1000}" for number in range(20_000)]
    labels = [f"label {number % 3}" for number in range(20_000)]
    table = pa.table({"text": texts, "label": labels})
    options = {"use_dictionary": False, "column_encoding": {"text": encoding, "label": "PLAIN"}}
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=9000, **options)
    found, _ = read("x.parquet")
    assert found.texts == texts and found.labels == labels


@pytest.mark.parametrize("damage", ["cut", "footer", "pages", "none"])
def test_a_damaged_file_is_refused_and_not_retried(read: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.parquet"
    write(path, pa.array([f"label {number}" for number in range(5000)]))
    whole = bytearray(path.read_bytes())
    match damage:
        case "cut":
            whole = whole[: len(whole) // 2]
        case "footer":
            whole[-200:-8] = bytes(192)
        case "pages":
            whole[100:2000] = b"\xff" * 1900
        case "none":
            whole = bytearray(b"no parquet at all")
    path.write_bytes(whole)
    with pytest.raises(StageFailure) as caught:
        read("x.parquet")
    assert (caught.value.reason, caught.value.retriable) == ("SourceUnreadable", False)
    told = "is no Parquet, though its name says so" if damage == "none" else "is no whole Parquet file: "
    assert f"x.parquet {told}" in caught.value.message
    assert "UTF-8" not in caught.value.message
