"""Reads Parquet in batches of rows. Touches the file only.

A file of kilobytes can stand for terabytes: a value is written once and referred to a billion times, and a page may say
that it grows to any size. So what the file declares is held against the budget first, values that repeat are kept once,
and what still takes too much memory ends in bounded_memory around this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from kaon_jobs.budget import raising
from kaon_jobs.data.budget import too_large
from kaon_jobs.data.cells import Microseconds
from kaon_jobs.data.rows import FileRows, shortened
from kaon_jobs.errors import StageFailure

_BATCH_ROWS = 8192
_BATCH_BYTES = 64 * 1024**2
_DELTA_BATCH_ROWS = 256
_IMAGE_BATCH_ROWS = 64
MAX_FOOTER_BYTES = 32 * 1024**2
"""It becomes ten times as much in memory."""
_TAIL_BYTES = 8


def read_parquet(rows: FileRows, path: Path) -> None:
    """Fills in the rows of a file.

    Raises:
        StageFailure: the file is damaged or over budget, or one of the columns holds what its type cannot.
        MemoryError: it takes more memory than there is.
    """
    uri, columns = rows.uri, rows.columns
    kinds = columns.kinds
    wanted = list(kinds)
    try:
        _check_footer(uri, path)
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        rows.budget.check_columns(uri, metadata.num_columns)
        columns.check(uri, schema.names)
        for name, kind in kinds.items():
            _check_type(uri, name, schema.field(name).type, kind, feature=name != columns.label)
        _check_rows(rows, metadata.num_rows)
        # No two images are the same: held once each, they would be held twice.
        repeated = [name for name in wanted if kinds[name] != "image" and _is_bytes(_plain(schema.field(name).type))]
        width = sum(_width(schema.field(name).type) for name in wanted)
        for group in range(metadata.num_row_groups):
            most = _IMAGE_BATCH_ROWS if columns.are_images else _BATCH_ROWS
            _read_group(rows, _Group(path, metadata, group, wanted, width), repeated, most)
    except (StageFailure, MemoryError):
        raise
    except Exception as error:
        # Arrow raises whatever its C++ finds in the bytes: it has no exception of its own for a damaged file. What it
        # says may hold bytes of the file, so that none of it is repeated.
        where = f"its row {rows.count:,}" if rows.count else "its first row"
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} is no whole Parquet file: {type(error).__name__} at or behind {where}. Write or upload it again.",
        ) from error
    if rows.count != metadata.num_rows:
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} says that it has {metadata.num_rows:,} rows, and {rows.count:,} can be read. Write or upload it "
            "again.",
        )


def _check_footer(uri: str, path: Path) -> None:
    """Refuses a description of the file that is itself too large, before it is read."""
    with path.open("rb") as file:
        if file.seek(0, 2) < _TAIL_BYTES:
            return
        file.seek(-_TAIL_BYTES, 2)
        size = int.from_bytes(file.read(4), "little")
    if MAX_FOOTER_BYTES < size < path.stat().st_size:
        raise too_large(
            uri,
            f"has a footer of {size:,} bytes",
            f"{MAX_FOOTER_BYTES:,}",
            "Write it with larger row groups and fewer columns",
        )


def _check_rows(rows: FileRows, count: int) -> None:
    budget = rows.budget
    if count > budget.budgets.rows - budget.rows:
        way_out = f"Name less data in spec.sources, {raising('rows')}"
        what = f"has {count:,} rows, with the files before it {count + budget.rows:,}"
        raise too_large(rows.uri, what, f"{budget.budgets.rows:,}", way_out)


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group of a file, and which columns are read of it."""

    path: Path
    metadata: pq.FileMetaData
    number: int
    wanted: list[str]
    width: int
    """Bytes of a value, at least."""

    def batches(self, repeated: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        """Its rows. Columns named in `repeated` come as dictionaries, which hold each value once."""
        # Of the metadata nothing deeper is asked: what is damaged there ends the process, and not by an exception.
        group = self.metadata.row_group(self.number)
        mean = group.total_byte_size // max(1, group.num_rows)
        size = max(1, min(most_rows, _BATCH_BYTES // max(self.width, mean, 1)))
        # Mapped and not through a buffer: a damaged page that declares gigabytes would be given them before it is read.
        with pq.ParquetFile(
            self.path,
            metadata=self.metadata,
            read_dictionary=repeated,
            page_checksum_verification=True,
            memory_map=True,
            pre_buffer=False,
        ) as file:
            for batch in file.iter_batches(size, row_groups=[self.number], columns=self.wanted, use_threads=False):
                batch.validate(full=False)
                yield batch


def _read_group(rows: FileRows, group: _Group, repeated: list[str], most_rows: int) -> None:
    before = rows.count
    known = {name: _Known() for name in group.wanted}

    def add(batch: pa.RecordBatch, done: int) -> None:
        """Adds the rows of a batch behind so many that were added already."""
        values = zip(*(_values(batch[name], of) for name, of in known.items()), strict=True)
        for *features, label in islice(values, done, None):
            rows.add(features, label)

    try:
        for batch in group.batches(repeated, most_rows):
            add(batch, 0)
    except (OSError, NotImplementedError) as error:
        if "DictAccumulator" not in str(error):
            raise
        # Values that are written by how they differ from others cannot be kept once. In small batches they are read
        # as they are, behind the rows that were read already.
        done = rows.count - before
        for batch in group.batches([], _DELTA_BATCH_ROWS):
            add(batch, done)
            done = max(0, done - len(batch))


_NUMBERS = types.is_integer, types.is_floating, types.is_decimal, types.is_null
_READ: dict[str, tuple[str, tuple[Callable[[pa.DataType], bool], ...]]] = {
    "number": ("numbers or text", _NUMBERS),
    "datetime": ("timestamps, dates or text", (types.is_timestamp, types.is_date, types.is_null)),
    "rating": ("numbers or text", _NUMBERS),
    "time": (
        "numbers, timestamps, dates or text",
        (*_NUMBERS, types.is_timestamp, types.is_date),
    ),
    "text": ("text, numbers or booleans", (*_NUMBERS, types.is_boolean)),
}
"""Type of a column -> what is read into it beside texts and bytes, for people and as types of Arrow."""


def _check_type(uri: str, name: str, kind: pa.DataType, wanted: str, *, feature: bool) -> None:
    inner = _plain(kind)
    if wanted == "image":
        _check_images(uri, name, inner)
        return
    expected, others = _READ.get(wanted, _READ["text"])
    if _is_bytes(inner) or types.is_fixed_size_binary(inner) or any(holds(inner) for holds in others):
        return
    fits = {
        "datetime": types.is_timestamp(inner) or types.is_date(inner),
        "category": types.is_boolean(inner),
        "number": any(holds(inner) for holds in _NUMBERS),
    }
    other = next((name for name, holds in fits.items() if holds), None)
    change = f", or give it the type {other} in spec.schema.features" if feature and wanted in fits and other else ""
    raise StageFailure(
        "ColumnTypeUnsupported",
        f"The column {name!r} of {uri} holds {shortened(str(kind), 80)}, expected {expected}. Write it as text"
        f"{change}.",
    )


def _check_images(uri: str, name: str, kind: pa.DataType) -> None:
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = _plain(kind.field("bytes").type)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind):
        return
    raise StageFailure(
        "ColumnTypeUnsupported",
        f"The column {name!r} of {uri} holds {shortened(str(kind), 80)}, expected the bytes of images, or records with "
        "bytes and path. Write the bytes of the JPEG or PNG files into it.",
    )


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether values of the type are texts or bytes of any length."""
    text = types.is_string, types.is_large_string, types.is_string_view
    raw = types.is_binary, types.is_large_binary, types.is_binary_view
    return any(holds(kind) for holds in (*text, *raw))


def _width(kind: pa.DataType) -> int:
    """Bytes of each value, where all have the same."""
    inner = _plain(kind)
    return int(inner.byte_width) if types.is_fixed_size_binary(inner) else 16


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    return kind


class _Known:
    """The values of the last dictionary of a column: batch after batch has the same one."""

    def __init__(self) -> None:
        self._dictionary: pa.Array | None = None
        self._values: list[Any] = []

    def of(self, dictionary: pa.Array) -> list[Any]:
        if self._dictionary is None or _place(self._dictionary) != _place(dictionary):
            self._dictionary, self._values = dictionary, _plain_values(dictionary)
        return self._values


def _place(array: pa.Array) -> tuple[Any, ...]:
    """Which bytes of memory an array is."""
    return array.offset, len(array), *(buffer and buffer.address for buffer in array.buffers())


def _values(column: pa.Array, known: _Known) -> Iterator[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if types.is_dictionary(column.type):
        # Rows that refer to one value share it in memory, too.
        values = known.of(column.dictionary)
        for index in column.indices.to_pylist():
            yield None if index is None else values[index]
    else:
        yield from _plain_values(column)


def _plain_values(column: pa.Array) -> list[Any]:
    if types.is_string(column.type) or types.is_large_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            # Not all of it is UTF-8. As bytes each row is decoded, or refused, by itself.
            column = column.cast(pa.large_binary())
    if types.is_timestamp(column.type) or types.is_date(column.type):
        return _moments(column)
    values: list[Any] = column.to_pylist()
    return values


def _moments(column: pa.Array) -> list[Microseconds | None]:
    """Points in time of any year; fractions of a microsecond are cut off."""
    if types.is_date(column.type):
        by_day = types.is_date32(column.type)
        ticks, factor = column.cast(pa.int32() if by_day else pa.int64()), 86_400_000_000 if by_day else 1000
    else:
        ticks, factor = column.cast(pa.int64()), {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 0}[column.type.unit]
    return [
        None if tick is None else Microseconds(tick * factor if factor else tick // 1000) for tick in ticks.to_pylist()
    ]
