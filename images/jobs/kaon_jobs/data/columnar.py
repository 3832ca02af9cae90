"""Reads Parquet in batches of rows. Touches the file only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as types

from kaon_jobs.data.rows import Columns, FileRows
from kaon_jobs.errors import StageFailure

_BATCH_ROWS = 8192


def read_parquet(uri: str, path: Path, columns: Columns) -> FileRows:
    """The rows of a file.

    Raises:
        StageFailure: the file is damaged, or one of the columns holds no text and no numbers.
    """
    rows = FileRows(uri, columns)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            columns.check(uri, schema.names)
            for name in (columns.text, columns.label):
                _check_type(uri, name, schema.field(name).type)
            wanted = list(dict.fromkeys((columns.text, columns.label)))
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                batch.validate(full=False)
                for text, label in zip(_values(batch[columns.text]), _values(batch[columns.label]), strict=True):
                    rows.add(text, label)
            declared = file.metadata.num_rows
    except StageFailure:
        raise
    except MemoryError as error:
        # A damaged length asks for more than any machine has.
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} cannot be read: one of its pages asks for more memory than there is. If the file is whole, write "
            "it with smaller row groups, or raise spec.podTemplate.resources.limits.memory; else upload it again.",
        ) from error
    except Exception as error:
        # Arrow raises whatever its C++ finds in the bytes: it has no exception of its own for a damaged file.
        what = str(error).split("\n", 1)[0].rstrip(".")
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} is no whole Parquet file ({what}). Write or upload the file again.",
        ) from error
    if rows.count != declared:
        raise StageFailure(
            "SourceUnreadable",
            f"{uri} says that it has {declared:,} rows, and {rows.count:,} can be read. Write or upload it again.",
        )
    return rows


def _check_type(uri: str, name: str, kind: pa.DataType) -> None:
    inner = _plain(kind)
    text = types.is_string, types.is_large_string, types.is_string_view
    raw = types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary
    other = types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null
    if not any(holds(inner) for holds in (*text, *raw, *other)):
        raise StageFailure(
            "ColumnTypeUnsupported",
            f"The column {name!r} of {uri} holds {kind}, expected text, numbers or booleans. Write it as text.",
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    return kind


def _values(column: pa.Array) -> Iterator[Any]:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if types.is_dictionary(column.type) or types.is_run_end_encoded(column.type):
        column = column.cast(_plain(column.type)) if types.is_dictionary(column.type) else column
    if types.is_string(column.type) or types.is_large_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            # Not all of it is UTF-8. As bytes each row is decoded, or refused, by itself.
            column = column.cast(pa.large_binary())
    yield from column.to_pylist()
