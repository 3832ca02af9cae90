"""Whatever is wrong with a file: no message repeats a value of a row. Conditions and Events are read by many."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaon_jobs.errors import StageFailure

Make = Callable[..., Any]
SECRET = "zq"
"""Stands in every value of every row, and in no sentence."""
ROWS = [(f"zqtext number {number}", f"zqlabel{number % 2}") for number in range(24)]


def table(rows: list[tuple[str, str]] = ROWS, header: str = "text,label\n") -> str:
    return header + "".join(f"{text},{label}\n" for text, label in rows)


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def objects(**more: Any) -> list[dict[str, Any]]:
    return [{"text": text, "label": label, **more} for text, label in ROWS]


WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "no header": ("x.csv", table(header=""), {}),
    "no header and one column": ("x.csv", "".join(f"{text}\n" for text, _ in ROWS), {}),
    "no header, declared delimiter": ("x.csv", table(header=""), {"delimiter": ";"}),
    "no header that looks like JSON": ("x.csv", '{"zqkey": "zqvalue, text, label"}\n' + table(header=""), {}),
    "a header of one field": ("x.csv", "text^label^zqmore\n" + table(header=""), {}),
    "another label": (
        "x.csv",
        table([*ROWS, ("zqother text", "zqOTHER")] * 1),
        {"schema": {"features": [{"name": "text"}], "label": {"name": "label", "classes": ["a", "b"]}}},
    ),
    "a label of one row": ("x.csv", table([*ROWS, ("zqother text", "zqOTHER")]), {}),
    "one label": ("x.csv", table([(text, "zqsame") for text, _ in ROWS]), {}),
    "a label for each row": (
        "x.csv",
        table([(f"zqtext {n}", f"zqlabel {n}") for n in range(1500)]),
        {"split": {"stratify": False, "validation": 0}},
    ),
    "a long label": ("x.csv", table([(text, label + "zq" * 200) for text, label in ROWS]), {}),
    "too many fields": ("x.csv", table() + "zqone,zqtwo,zqthree\n", {}),
    "too few fields": ("x.csv", table() + "zqone\n", {}),
    "an open quotation mark": ("x.csv", table() + '"zqone,zqtwo\n', {}),
    "an open quotation mark over rows": ("x.csv", table() + '"zqone,zqtwo\n' + table(header=""), {}),
    "a missing value": ("x.csv", table() + ",zqlabel0\n", {"clean": {"missing": "fail"}}),
    "rows in train and test": ("x.csv", table([("zqsame text", label) for _, label in ROWS]), {}),
    "no JSON": ("x.jsonl", lines(objects()) + "{zqbroken: 'zq'}\n", {}),
    "no JSON in an array": ("x.json", json.dumps(objects())[:-1] + ", zqbroken]", {}),
    "two values in an array": ("x.json", json.dumps(objects())[:-1] + ' "zqvalue"]', {}),
    "more behind an array": ("x.json", json.dumps(objects()) + "zqmore", {}),
    "a value of an array": ("x.json", json.dumps([*objects(), "zqvalue"]), {}),
    "a list for a text": ("x.jsonl", lines([*objects(), {"text": ["zq"], "label": "zq"}]), {}),
    "an object for a label": ("x.jsonl", lines([*objects(), {"text": "zq", "label": {"zq": "zq"}}]), {}),
    "keys that are data": (
        "x.jsonl",
        lines([{f"zq@{n}": {"text": "zq", "label": "zq"}} for n in range(9)]),
        {},
    ),
    "half a pair in a label": ("x.jsonl", lines([*objects(), {"text": "zq", "label": "zq\ud800"}]), {}),
    "an infinite label": ("x.jsonl", lines(objects()) + '{"text": "zq", "label": 1e999}\n', {}),
    "NUL in a text": ("x.jsonl", lines([*objects(), {"text": "zq\0zq", "label": "zq"}]), {}),
    **{
        f"{kind} that is none": (
            "x.csv",
            table(header="age,label\n"),
            {
                "task": "tabular-classification",
                "schema": {"features": [{"name": "age", "type": kind}], "label": {"name": "label"}},
            },
        )
        for kind in ("number", "datetime")
    },
    "a label that is no number": (
        "x.csv",
        table(header="town,label\n"),
        {
            "task": "tabular-regression",
            "schema": {"features": [{"name": "town", "type": "category"}], "label": {"name": "label"}},
        },
    ),
    "a category for each row": (
        "x.csv",
        table([(f"zqtown {n}", f"zqlabel{n % 2}") for n in range(3000)], header="town,label\n"),
        {
            "task": "tabular-classification",
            "schema": {"features": [{"name": "town", "type": "category"}], "label": {"name": "label"}},
        },
    ),
    "another format": ("x.parquet", table(), {}),
    "a web page": ("x.csv", "<!doctype html><p>zqtext", {}),
}


def refusal(make: Make, name: str, **changes: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        make(name, **changes)
    assert not caught.value.retriable
    return caught.value


@pytest.mark.parametrize("kind", WRONG)
def test_no_message_repeats_a_value(make: Make, tmp_path: Path, kind: str) -> None:
    name, content, changes = WRONG[kind]
    (tmp_path / name).write_text(content, encoding="utf-8")
    failure = refusal(make, name, **changes)
    assert SECRET not in failure.message.lower(), failure.message
    assert f"/{name}" in failure.message or failure.reason.startswith(("TooFew", "TooMany", "TrainSplit"))


def parquet(rows: list[tuple[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), sink)
    return sink.getvalue().to_pybytes()


FILES: dict[str, bytes] = {
    "x.csv.gz": gzip.compress(table().encode(), mtime=0),
    "x.csv.bz2": bz2.compress(table().encode()),
    "x.csv.xz": lzma.compress(table().encode()),
    "x.parquet": parquet(ROWS),
    "x.json": json.dumps(objects()).encode(),
    "x.csv": table().encode("utf-16"),
}


@pytest.mark.parametrize("name", FILES)
def test_no_message_about_a_damaged_file_repeats_a_value(read: Any, tmp_path: Path, name: str) -> None:
    draw = random.Random(name)
    refused = 0
    for _ in range(60):
        data = bytearray(FILES[name])
        for _ in range(draw.choice((1, 3))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        (tmp_path / name).write_bytes(data[: draw.choice((len(data), draw.randrange(len(data))))])
        try:
            read(name)
        except StageFailure as failure:
            refused += 1
            assert SECRET not in failure.message.lower(), failure.message
    assert refused > 20


def test_a_label_that_is_no_declared_class_is_told_by_its_row(make: Make, tmp_path: Path) -> None:
    others = [(f"zqother text {number}", "zqOTHER") for number in range(3)]
    (tmp_path / "x.csv").write_text(table([*ROWS, *others]))
    schema = {"features": [{"name": "text"}], "label": {"name": "label", "classes": ["zqlabel0", "zqlabel1"]}}
    message = refusal(make, "x.csv", schema=schema).message
    assert message.startswith("3 rows have a label that is not in spec.schema.label.classes (different labels: 1).")
    assert "x.csv row 25" in message
