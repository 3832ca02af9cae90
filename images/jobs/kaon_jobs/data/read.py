"""Reads sources: CSV, TSV, JSON lines or Parquet, one file or a folder of files, into rows of text and label.

Touches the store and a scratch directory. Every row remembers its file and number, so that a message can name it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from kaon.contract.jobspec import DatasetSource
from kaon_jobs.errors import ObjectNotFound, StageFailure
from kaon_jobs.store import Entry, folder_digest, open_store, safe_path, split_uri

_FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
# A CSV row must fit into one block of the parser.
_CSV_BLOCK_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Table:
    """Rows of all sources, column by column, in reading order. `None` is a missing value."""

    texts: list[str | None] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    pinned: list[str | None] = field(default_factory=list)
    """The split that the row's source belongs to, if it says so."""
    files: list[str] = field(default_factory=list)
    """URI of the row's file."""
    numbers: list[int] = field(default_factory=list)
    """1-based number of the row in its file, a header not counted."""

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, row: int) -> str:
        """Where a row stands, for people."""
        return f"{self.files[row]} row {self.numbers[row]}"


@dataclass(frozen=True, slots=True)
class ReadSource:
    """What a source turned out to be."""

    uri: str
    digest: str
    rows: int


def read_sources(
    sources: Sequence[DatasetSource],
    data_format: str,
    text: str,
    label: str,
    scratch: Path,
    progress: Callable[[str, float], None],
) -> tuple[Table, list[ReadSource]]:
    """All rows of all sources, in order. Bytes other than a pinned digest's are refused before they are parsed.

    Args:
        text, label: names of the two columns.
        progress: hears which source is read, and the share (0 to 1) of sources done.
    """
    table, found = Table(), []
    for index, source in enumerate(sources):
        progress(source.uri, index / len(sources))
        before = len(table)
        files, digest = _fetch(source, scratch / str(index))
        if source.digest is not None and source.digest != digest:
            raise StageFailure(
                "SourceDigestMismatch",
                f"{source.uri} is not what is pinned: expected {source.digest}, found {digest}; "
                "pin the new digest if the new bytes are meant",
            )
        for uri, path in files:
            reader = _READERS[_format_of(uri, data_format)]
            for number, (text_value, label_value) in enumerate(_parsed(reader, uri, path, text, label), start=1):
                table.texts.append(_as_text(text_value))
                table.labels.append(_as_text(label_value))
                table.pinned.append(source.split)
                table.files.append(uri)
                table.numbers.append(number)
        if len(table) == before:
            raise StageFailure("SourceEmpty", f"{source.uri} has no rows; name a file with at least one row")
        found.append(ReadSource(source.uri, digest, len(table) - before))
    return table, found


def _fetch(source: DatasetSource, scratch: Path) -> tuple[list[tuple[str, Path]], str]:
    folder, name = split_uri(source.uri)
    parent = open_store(folder, source.secret)
    try:
        sha256 = parent.download(name, scratch / safe_path(name))
        return [(source.uri, scratch / safe_path(name))], f"sha256:{sha256}"
    except ObjectNotFound:
        (scratch / safe_path(name)).unlink(missing_ok=True)
    store = parent.child(name)
    # Markers such as _SUCCESS and hidden files are not data.
    entries = [] if source.uri.startswith("http") else [entry for entry in store.entries() if _is_data(entry)]
    if not entries:
        raise StageFailure(
            "SourceNotFound",
            f"there is neither a file nor a folder with files at {source.uri}; upload it or correct uri",
        )
    digests = {entry.path: store.download(entry.path, scratch / safe_path(entry.path)) for entry in entries}
    files = [(f"{store.uri}/{entry.path}", scratch / safe_path(entry.path)) for entry in entries]
    return files, folder_digest(digests)


def _is_data(entry: Entry) -> bool:
    return entry.size > 0 and not any(part.startswith((".", "_")) for part in entry.path.split("/"))


def _format_of(uri: str, data_format: str) -> str:
    name = uri.lower().removesuffix(".gz")
    by_name = _FORMATS.get(Path(name).suffix)
    if data_format != "auto":
        return "tsv" if data_format == "csv" and by_name == "tsv" else data_format
    if by_name is None:
        raise StageFailure(
            "FormatUnknown", f"cannot tell the format of {uri} by its name; set spec.format to csv, jsonl or parquet"
        )
    return by_name


Pairs = Iterator[tuple[Any, Any]]
Reader = Callable[[str, Path, str, str], Pairs]


def _parsed(reader: Reader, uri: str, path: Path, text: str, label: str) -> Pairs:
    try:
        yield from reader(uri, path, text, label)
    except (pa.ArrowException, UnicodeDecodeError, json.JSONDecodeError, csv.Error, gzip.BadGzipFile) as error:
        first = str(error).split("\n", 1)[0]
        raise StageFailure("SourceUnreadable", f"{uri} cannot be read: {first}; check its format and UTF-8") from error


def _read_csv(uri: str, path: Path, text: str, label: str) -> Pairs:
    return _delimited(uri, path, text, label, ",")


def _read_tsv(uri: str, path: Path, text: str, label: str) -> Pairs:
    return _delimited(uri, path, text, label, "\t")


def _delimited(uri: str, path: Path, text: str, label: str, delimiter: str) -> Pairs:
    with _open(path) as file:
        head = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        header = next(csv.reader(head, delimiter=delimiter), [])
    if not header:
        return
    _check_columns(uri, header, text, label)
    with _open(path) as file:
        rows = pa_csv.read_csv(
            file,
            read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            # Only nothing is missing: "NA" and "null" are words, and may be classes.
            convert_options=pa_csv.ConvertOptions(
                include_columns=[text, label],
                column_types={text: pa.string(), label: pa.string()},
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    yield from zip(rows[text].to_pylist(), rows[label].to_pylist(), strict=True)


def _read_jsonl(uri: str, path: Path, text: str, label: str) -> Pairs:
    with _open(path) as file:
        for number, line in enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), start=1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise StageFailure("SourceUnreadable", f"{uri} line {number} is not a JSON object")
            if number == 1:
                _check_columns(uri, list(row), text, label)
            yield row.get(text), row.get(label)


def _read_parquet(uri: str, path: Path, text: str, label: str) -> Pairs:
    with pq.ParquetFile(path) as file:
        _check_columns(uri, file.schema_arrow.names, text, label)
        for batch in file.iter_batches(columns=[text, label]):
            yield from zip(batch[text].to_pylist(), batch[label].to_pylist(), strict=True)


_READERS: dict[str, Reader] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def _check_columns(uri: str, columns: Sequence[str], text: str, label: str) -> None:
    for name, reason, where in (
        (text, "TextColumnMissing", "spec.schema.features"),
        (label, "LabelColumnMissing", "spec.schema.label.name"),
    ):
        if name not in columns:
            have = ", ".join(columns[:30])
            raise StageFailure(reason, f"{uri} has no column {name!r}; it has {have}. Set {where} to one of them")


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _as_text(value: Any) -> str | None:
    # Classes are often numbers in the file; 1, 1.0 and "1" are one class.
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text or None
