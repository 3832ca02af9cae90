"""Reads Parquet in batches of rows. Touches the file only.

A file of kilobytes can stand for terabytes: a value is written once and referred to a billion times, and a page may say
that it grows to any size. So what the file declares is held against the budget first, values that repeat are kept once,
and what still takes too much memory ends in bounded_memory around this.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from kaon_jobs.budget import MEMORY_FIELD, raising
from kaon_jobs.data.budget import too_large
from kaon_jobs.data.rows import FileRows, shortened
from kaon_jobs.errors import StageFailure

_BATCH_ROWS = 8192
_BATCH_BYTES = 64 * 1024**2
_DELTA_BYTES = 256 * 1024
_BUFFER_BYTES = 1024**2
MAX_FOOTER_BYTES = 32 * 1024**2
"""It becomes ten times as much in memory."""
_TAIL_BYTES = 8


def read_parquet(rows: FileRows, path: Path) -> None:
    """Fills in the rows of a file.

    Raises:
        StageFailure: the file is damaged or over budget, or one of the columns holds no text and no numbers.
        MemoryError: it takes more memory than there is.
    """
    uri, columns = rows.uri, rows.columns
    wanted = list(dict.fromkeys((columns.text, columns.label)))
    try:
        _check_footer(uri, path)
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        rows.budget.check_columns(uri, metadata.num_columns)
        columns.check(uri, schema.names)
        for name in wanted:
            _check_type(uri, name, schema.field(name).type)
        _check_declared(rows, metadata, wanted)
        chunks = {name: list(_chunks(metadata, name)) for name in wanted}
        repeated = [name for name in wanted if _keeps_values(schema.field(name).type, chunks[name])]
        width = max(_width(schema.field(name).type, chunks[name]) for name in wanted)
        batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // width))
        with pq.ParquetFile(
            path,
            metadata=metadata,
            read_dictionary=repeated,
            page_checksum_verification=True,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
        ) as file:
            known: dict[str, _Known] = {name: _Known() for name in wanted}
            for batch in file.iter_batches(batch_size=batch_rows, columns=wanted, use_threads=False):
                batch.validate(full=False)
                texts = _values(batch[columns.text], known[columns.text])
                labels = _values(batch[columns.label], known[columns.label])
                for text, label in zip(texts, labels, strict=True):
                    rows.add(text, label)
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


def _check_declared(rows: FileRows, metadata: pq.FileMetaData, wanted: list[str]) -> None:
    budget, uri = rows.budget, rows.uri
    left = budget.budgets.rows - budget.rows
    if metadata.num_rows > left:
        way_out = f"Name less data in spec.sources, {raising('rows')}"
        what = f"has {metadata.num_rows:,} rows, with the files before it {metadata.num_rows + budget.rows:,}"
        raise too_large(uri, what, f"{budget.budgets.rows:,}", way_out)
    for name in wanted:
        for group, (chunk, _) in enumerate(_chunks(metadata, name), start=1):
            if chunk.total_uncompressed_size > budget.memory:
                raise too_large(
                    uri,
                    f"has {chunk.total_uncompressed_size:,} bytes of {name!r} in its row group {group}, which are read "
                    "into memory",
                    f"{budget.memory:,}",
                    f"Write it with smaller row groups, or raise {MEMORY_FIELD}",
                )


def _chunks(metadata: pq.FileMetaData, name: str) -> Iterator[tuple[pq.ColumnChunkMetaData, int]]:
    """Of each row group the part of a column, and the rows of the group."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for index in range(metadata.num_columns):
            chunk = group.column(index)
            if chunk.path_in_schema == name:
                yield chunk, group.num_rows


def _keeps_values(kind: pa.DataType, chunks: list[tuple[pq.ColumnChunkMetaData, int]]) -> bool:
    """Whether Arrow can keep a value that repeats once: not where each value is written by how it differs."""
    deltas = any(encoding.startswith("DELTA_") for chunk, _ in chunks for encoding in chunk.encodings)
    return _is_bytes(_plain(kind)) and not deltas


def _check_type(uri: str, name: str, kind: pa.DataType) -> None:
    inner = _plain(kind)
    other = types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null
    if not (_is_bytes(inner) or types.is_fixed_size_binary(inner) or any(holds(inner) for holds in other)):
        raise StageFailure(
            "ColumnTypeUnsupported",
            f"The column {name!r} of {uri} holds {shortened(str(kind), 80)}, expected text, numbers or booleans. Write "
            "it as text.",
        )


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether values of the type are texts or bytes of any length."""
    text = types.is_string, types.is_large_string, types.is_string_view
    raw = types.is_binary, types.is_large_binary, types.is_binary_view
    return any(holds(kind) for holds in (*text, *raw))


def _width(kind: pa.DataType, chunks: list[tuple[pq.ColumnChunkMetaData, int]]) -> int:
    """Bytes of a value: what all have, where all have the same, or the mean of the row group with the largest."""
    inner = _plain(kind)
    if types.is_fixed_size_binary(inner):
        return max(1, int(inner.byte_width))
    means = [chunk.total_uncompressed_size // max(1, rows) for chunk, rows in chunks]
    deltas = not _keeps_values(kind, chunks) and _is_bytes(inner)
    # A value of a few bytes may stand for one as long as the one before it.
    return max(16, _DELTA_BYTES if deltas else 0, *means) if means else 16


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    return kind


class _Known:
    """The values of the last dictionary of a column: batch after batch has the same one."""

    def __init__(self) -> None:
        self.dictionary: pa.Array | None = None
        self.values: list[Any] = []

    def of(self, dictionary: pa.Array) -> list[Any]:
        if self.dictionary is None or not _same(self.dictionary, dictionary):
            self.dictionary, self.values = dictionary, _plain_values(dictionary)
        return self.values


def _same(one: pa.Array, other: pa.Array) -> bool:
    """Whether two arrays are the same bytes of memory."""
    buffers = [[buffer and buffer.address for buffer in array.buffers()] for array in (one, other)]
    return buffers[0] == buffers[1] and (one.offset, len(one)) == (other.offset, len(other))


def _values(column: pa.Array, known: _Known) -> Iterator[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if types.is_dictionary(column.type):
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
    values: list[Any] = column.to_pylist()
    return values
