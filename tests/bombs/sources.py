"""Sources of kilobytes that stand for gigabytes. Each function writes a file or a folder, and returns its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MIB = 1024**2


def _repeated(folder: Path, name: str, start: str, part: str, count: int, end: str = "") -> str:
    with (folder / name).open("w") as file:
        file.write(start)
        for _ in range(count):
            file.write(part)
        file.write(end)
    return name


def long_line(folder: Path) -> str:
    """A field that does not end."""
    return _repeated(folder, "x.csv", "text,label\n", "word " * 200_000, 200)


def wide_header(folder: Path) -> str:
    """A header of columns without end."""
    return _repeated(folder, "x.csv", "text,label", ",a" * 100_000, 70)


def endless_row(folder: Path) -> str:
    """A row of lines, each of which ends inside of quotation marks."""
    return _repeated(folder, "x.csv", "text,label\n", '"a\n","b\n",' * 100_000, 100)


def wide_row(folder: Path) -> str:
    """A row of fields without end in a line."""
    return _repeated(folder, "x.csv", "text,label\n", "a," * 100_000, 75, "\n")


def many_values(folder: Path) -> str:
    """A JSON line of empty lists."""
    return _repeated(folder, "x.jsonl", '{"text": "a", "label": "b", "more": [[]', ",[]" * 100_000, 50, "]}\n")


def many_values_of_an_array(folder: Path) -> str:
    """The same as an element of an array."""
    return _repeated(folder, "x.json", '[{"text": "a", "label": "b", "more": [[]', ",[]" * 100_000, 50, "]}]")


def deep_values(folder: Path) -> str:
    """JSON half a million lists deep."""
    return _repeated(folder, "x.jsonl", '{"text": ', "[" * 100_000, 5, "\n")


def many_rows(folder: Path) -> str:
    """Rows for which there is no memory."""
    with (folder / "x.csv").open("w") as file:
        file.write("text,label\n")
        for number in range(1_500_000):
            file.write(f"text number {number},{number % 2}\n")
    return "x.csv"


def _blank(count: int) -> Iterator[bytes]:
    yield b"text,label\n"
    for _ in range(count):
        yield b"\n" * MIB


def gzip_of_nothing(folder: Path) -> str:
    """Half a gigabyte of blank lines."""
    with gzip.open(folder / "x.csv.gz", "wb", compresslevel=6) as file:
        for part in _blank(512):
            file.write(part)
    return "x.csv.gz"


def bzip2_of_nothing(folder: Path) -> str:
    """The same."""
    with bz2.open(folder / "x.csv.bz2", "wb") as file:
        for part in _blank(512):
            file.write(part)
    return "x.csv.bz2"


def xz_of_nothing(folder: Path) -> str:
    """The same."""
    with lzma.open(folder / "x.csv.xz", "wb", preset=0) as file:
        for part in _blank(512):
            file.write(part)
    return "x.csv.xz"


def zstd_of_nothing(folder: Path) -> str:
    """The same."""
    with pa.CompressedOutputStream(pa.OSFile(str(folder / "x.csv.zst"), "wb"), "zstd") as file:
        for part in _blank(512):
            file.write(part)
    return "x.csv.zst"


def xz_of_a_large_window(folder: Path) -> str:
    """A file that says that its reader needs 4 GiB."""
    data = bytearray(lzma.compress(b"text,label\na,b\n"))
    # Behind the stream's header of 12 bytes: size, flags, filter, size of its properties, dictionary, padding, CRC-32.
    size = (data[12] + 1) * 4
    data[16] = 40
    data[12 + size - 4 : 12 + size] = zlib.crc32(bytes(data[12 : 12 + size - 4])).to_bytes(4, "little")
    (folder / "x.csv.xz").write_bytes(bytes(data))
    return "x.csv.xz"


def gzip_of_gzip(folder: Path) -> str:
    """A file that was compressed three times."""
    data = gzip.compress(gzip.compress(gzip.compress(b"\n" * MIB)))
    (folder / "x.csv.gz").write_bytes(data)
    return "x.csv.gz"


def gzip_of_tar(folder: Path) -> str:
    """An archive under the name of a table."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("x.csv")
        entry.size = MIB
        archive.addfile(entry, io.BytesIO(b"\n" * MIB))
    (folder / "x.csv.gz").write_bytes(gzip.compress(buffer.getvalue()))
    return "x.csv.gz"


def _repeated_value(folder: Path, value: str, count: int) -> str:
    column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()).take(pa.array([0] * count)), [value])
    pq.write_table(pa.table({"text": column, "label": ["a"] * count}), folder / "x.parquet")
    return "x.parquet"


def parquet_of_one_value(folder: Path) -> str:
    """A value of half a megabyte that a hundred thousand rows refer to."""
    return _repeated_value(folder, "word " * 100_000, 100_000)


def parquet_of_a_large_page(folder: Path) -> str:
    """A page that grows to six hundred megabytes."""
    return _many(folder, "a" * MIB, 600, use_dictionary=False, compression="zstd", data_page_size=1024 * MIB)


def parquet_of_prefixes(folder: Path) -> str:
    """Values that are each written as the one before it."""
    encodings = {"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"}
    return _many(folder, "a" * 900_000, 2000, use_dictionary=False, column_encoding=encodings)


def _many(folder: Path, value: str, count: int, **options: Any) -> str:
    """A row group of one value again and again."""
    text = pa.chunked_array([pa.array([value])] * count)
    pq.write_table(pa.table({"text": text, "label": ["a"] * count}), folder / "x.parquet", **options)
    return "x.parquet"


def parquet_of_wide_bytes(folder: Path) -> str:
    """Values of one size, so large that a batch of them has no room."""
    value = b"a" * 500_000
    column = pa.array([value] * 2, pa.binary(len(value))).take(pa.array([0] * 2000))
    pq.write_table(pa.table({"text": column, "label": ["a"] * 2000}), folder / "x.parquet", compression="zstd")
    return "x.parquet"


def parquet_of_empty_rows(folder: Path) -> str:
    """A hundred million rows that hold nothing."""
    schema = pa.schema({"text": pa.string(), "label": pa.string()})
    with pq.ParquetWriter(folder / "x.parquet", schema) as writer:
        batch = pa.record_batch([pa.nulls(10_000_000, pa.string())] * 2, schema=schema)
        for _ in range(10):
            writer.write_batch(batch)
    return "x.parquet"


def parquet_of_a_page_declared(folder: Path) -> str:
    """A few kilobytes; its first page declares 2 GB, compressed or not."""
    path = folder / "x.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(1000)], "label": ["a"] * 1000}), path)
    whole = path.read_bytes()
    # A page begins with its type and its two sizes: each is a byte of the field's number and kind, and a varint.
    begin = whole.index(b"PAR1") + len(b"PAR1")
    kind, sizes = whole[begin : begin + 2], re.compile(rb"\x15([\x80-\xff]*[\x00-\x7f])" * 2)
    end = sizes.match(whole, begin + len(kind)).end()
    path.write_bytes(whole[:begin] + kind + b"\x15\xae\xe9\x8b\xad\x0f" * 2 + whole[end:])
    return "x.parquet"


def parquet_of_columns(folder: Path) -> str:
    """Twenty thousand columns."""
    columns = {f"column {number}": [1] for number in range(20_000)}
    pq.write_table(pa.table({"text": ["a"], "label": ["b"], **columns}), folder / "x.parquet")
    return "x.parquet"


def many_files(folder: Path) -> str:
    """A folder of files without end."""
    (folder / "x").mkdir()
    for number in range(10_050):
        (folder / "x" / f"{number}.csv").write_bytes(b"text,label\na,b\n")
    return "x"


BOMBS: dict[str, tuple[Callable[[Path], str], str, str]] = {
    "a line": (long_line, "SourceUnreadable", "16,777,216 characters, the limit"),
    "a header": (wide_header, "SourceTooLarge", "columns, and 10,000 is the limit"),
    "a row of lines": (endless_row, "SourceUnreadable", "quotation marks are opened so often and not closed"),
    "a row of fields": (wide_row, "SourceUnreadable", "more than 1,000,000 fields, the limit"),
    "values of JSON": (many_values, "SourceUnreadable", "more than 1,000,000 values, the limit"),
    "values of a JSON array": (many_values_of_an_array, "SourceUnreadable", "more than 1,000,000 values, the limit"),
    "depth of JSON": (deep_values, "SourceUnreadable", "JSON that is nested too deep"),
    "rows": (many_rows, "SourceTooLarge", "spec.podTemplate.resources.limits.memory"),
    "gzip": (gzip_of_nothing, "SourceTooLarge", "200 times is the limit"),
    "bzip2": (bzip2_of_nothing, "SourceTooLarge", "200 times is the limit"),
    "xz": (xz_of_nothing, "SourceTooLarge", "200 times is the limit"),
    "zstd": (zstd_of_nothing, "SourceTooLarge", "200 times is the limit"),
    "a window of xz": (xz_of_a_large_window, "SourceUnreadable", "268,435,456 bytes of memory"),
    "gzip of gzip": (gzip_of_gzip, "SourceUnreadable", "is compressed twice"),
    "gzip of tar": (gzip_of_tar, "FormatUnknown", "is a tar archive"),
    "a repeated value of Parquet": (parquet_of_one_value, "SourceTooLarge", "limits.memory"),
    "a page of Parquet": (parquet_of_a_large_page, "SourceTooLarge", "limits.memory"),
    "prefixes of Parquet": (parquet_of_prefixes, "SourceTooLarge", "limits.memory"),
    "wide bytes of Parquet": (parquet_of_wide_bytes, "SourceTooLarge", "limits.memory"),
    "rows of Parquet": (parquet_of_empty_rows, "SourceTooLarge", "has 100,000,000 rows"),
    "a page of Parquet that declares too much": (parquet_of_a_page_declared, "SourceUnreadable", "is no whole Parquet"),
    "columns of Parquet": (parquet_of_columns, "SourceTooLarge", "has 20,002 columns, and 10,000 is the limit"),
    "files of a folder": (many_files, "SourceTooLarge", "has more than 10,000 files"),
}
"""Name -> how it is made, the reason of its refusal, and what that says."""
