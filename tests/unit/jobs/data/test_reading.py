"""Sources: files and folders, what each is, pins, and what is refused with its cause and way out."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaon_jobs.errors import StageFailure
from kaon_jobs.store.objectstore import folder_digest, sha256_file

CSV = "text,label\na,x\nb,y\n"


def zstd_file(path: Path, data: bytes) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(data)


def test_json_lines_and_parquet_with_numbers_for_labels_give_the_same_classes(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": 1}\n\n{"text": null, "label": true}\n')
    pq.write_table(pa.table({"label": [1.0, float("nan")], "text": ["a", "b"]}), tmp_path / "x.parquet")
    found, _ = read("x.jsonl", "x.parquet")
    assert found.labels == ["1", "true", "1", None]
    assert found.texts == ["a", None, "a", "b"]


def test_a_folder_is_all_its_data_files_in_order_of_name(read: Any, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for name, text in (("b.csv", "second"), ("a.csv", "first")):
        (folder / name).write_text(f"text,label\n{text},x\n")
    (folder / "_SUCCESS").write_text("marker")
    (folder / ".hidden.csv").write_text("nonsense")
    found, _ = read({"name": "many", "split": "test"})
    assert found.texts == ["first", "second"]
    assert found.pinned == ["test", "test"]
    assert found.place(1) == f"file:///mnt{folder}/b.csv row 1"


def test_a_pinned_source_is_read_when_its_bytes_are_those_pinned(read: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\na,b\n")
    assert len(read({"name": "x.csv", "digest": f"sha256:{sha256_file(path)}"})[0]) == 1
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "x.csv")
    pin = folder_digest({"x.csv": sha256_file(folder / "x.csv")})
    assert len(read({"name": "folder", "digest": pin})[0]) == 1


def test_a_source_with_other_bytes_than_pinned_is_refused(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(CSV)
    with pytest.raises(StageFailure, match=f"{'0' * 64}, found") as caught:
        read({"name": "x.csv", "digest": f"sha256:{'0' * 64}"})
    assert caught.value.reason == "SourceDigestMismatch"


def test_a_source_that_is_not_there_is_named(read: Any) -> None:
    with pytest.raises(StageFailure, match=r"nope\.csv") as caught:
        read("nope.csv")
    assert caught.value.reason == "SourceNotFound"


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"\n\n"])
def test_a_source_without_rows_is_refused(read: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(StageFailure, match="has no rows") as caught:
        read("x.csv")
    assert caught.value.reason == "SourceEmpty"


COMPRESSED: dict[str, Callable[[Path, bytes], object]] = {
    "gz": lambda path, data: path.write_bytes(gzip.compress(data)),
    "bz2": lambda path, data: path.write_bytes(bz2.compress(data)),
    "xz": lambda path, data: path.write_bytes(lzma.compress(data)),
    "zst": zstd_file,
}


@pytest.mark.parametrize("ending", COMPRESSED)
def test_a_compressed_file_is_read_and_a_part_of_one_is_refused_as_incomplete(
    read: Any, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"x.csv.{ending}"
    COMPRESSED[ending](path, ("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(500))).encode())
    table, (source,) = read(path.name)
    assert len(table) == 500
    assert source.readings[0].compression is not None
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(
        StageFailure, match=rf"x\.csv\.{ending} is incomplete: .* Upload the whole file again\."
    ) as caught:
        read(path.name)
    assert (caught.value.reason, caught.value.retriable) == ("SourceUnreadable", False)


def test_a_compressed_file_is_known_by_its_bytes_and_a_name_that_lies_is_told(read: Any, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(gzip.compress(CSV.encode()))
    assert len(read("x.csv")[0]) == 2
    (tmp_path / "y.csv.gz").write_text(CSV)
    with pytest.raises(StageFailure, match=r"y\.csv\.gz is not compressed with gzip, as its name says"):
        read("y.csv.gz")


def test_a_damaged_compressed_file_is_refused(read: Any, tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(("text,label\n" + "some text,x\n" * 500).encode()))
    whole[-6] ^= 0xFF
    (tmp_path / "x.csv.gz").write_bytes(whole)
    with pytest.raises(StageFailure, match=r"x\.csv\.gz is damaged: its gzip stream cannot be read\. Upload"):
        read("x.csv.gz")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.csv", CSV)
    return buffer.getvalue()


@pytest.mark.parametrize("declared", ["auto", "csv"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.zip", zipped(), "is a ZIP archive or a spreadsheet, which is not read. Write its rows as CSV"),
        ("x.csv", zipped(), "is a ZIP archive or a spreadsheet"),
        ("x.xlsx", zipped(), "is a ZIP archive or a spreadsheet"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "is a spreadsheet or document of an old office"),
        ("x.csv", b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page. Check that the URI"),
        ("x.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a pointer of Git LFS"),
        ("x.csv.gz", gzip.compress(zipped(), mtime=0), "is a ZIP archive or a spreadsheet"),
        ("folder/README.md", b"# Data\n", "README.md is a document, which is not read. .* out of the folder"),
        ("folder/LICENSE", b"Free\n", "LICENSE is a document"),
    ],
)  # fmt: skip
def test_what_is_no_data_file_is_refused_by_name_with_one_sentence_and_a_way_out(
    read: Any, tmp_path: Path, name: str, content: bytes, message: str, declared: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if path.parent != tmp_path:
        (path.parent / "x.csv").write_text(CSV)
    with pytest.raises(StageFailure, match=message) as caught:
        read(name.split("/")[0], format=declared)
    assert path.name in caught.value.message
    assert "no column" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        ("x.dat", CSV.encode(), {}, r"The format of .*x\.dat cannot be told by its name.*set spec\.format"),
        ("x.csv", b"PAR1", {"format": "csv"}, "is Parquet, and spec.format is csv. Set spec.format to auto"),
        ("x.parquet", b"PARE1234", {}, "is encrypted Parquet. Write it without encryption"),
        (
            "x.parquet.gz",
            gzip.compress(b"PAR1", mtime=0),
            {},
            "is Parquet compressed as a whole with gzip. Decompress it",
        ),
    ],
)
def test_a_format_that_cannot_be_told_or_does_not_fit_is_refused(
    read: Any, tmp_path: Path, name: str, content: bytes, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageFailure, match=message):
        read(name, **changes)


def test_a_file_of_any_name_is_read_when_its_format_is_declared(read: Any, tmp_path: Path) -> None:
    (tmp_path / "part-00000").write_text(CSV)
    assert read("part-00000", format="csv")[0].texts == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (["1", "1.0", "0"], [], ["1", "1", "0"]),
        (["1.0", "2.0"], [], ["1.0", "2.0"]),
        (["1.10", "1.1", "007", "7"], [], ["1.10", "1.1", "007", "7"]),
        (["1", "1.0", "other"], [], ["1", "1.0", "other"]),
        (["1", "0"], ["0.0", "1.0"], ["1.0", "0.0"]),
        (["1.0", "0.0"], ["0", "1"], ["1", "0"]),
    ],
)
def test_labels_that_are_all_numbers_have_one_spelling_a_number(
    read: Any, tmp_path: Path, labels: list[str], given: list[str], expected: list[str]
) -> None:
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"t,{label}\n" for label in labels))
    schema = {"features": [{"name": "text"}], "label": {"name": "label", "classes": given}}
    assert read("x.csv", schema=schema)[0].labels == expected


@pytest.mark.parametrize(("column", "row"), [("text", ("word " * 300_000, "x")), ("label", ("word", "x" * 1_200_000))])
def test_a_value_above_its_budget_makes_its_row_unreadable(
    read: Any, tmp_path: Path, column: str, row: tuple[str, str]
) -> None:
    (tmp_path / "x.csv").write_text(f"text,label\na,x\n{row[0]},{row[1]}\nb,x\n")
    with pytest.raises(StageFailure, match=rf"Row 2 \(line 3\): the column '{column}' holds .* 1,048,576 is the limit"):
        read("x.csv")
    drop = {"unreadableRows": {"action": "drop", "max": 0.5}}
    assert read("x.csv", clean=drop)[0].texts == ["a", "b"]
