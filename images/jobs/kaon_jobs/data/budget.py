"""What the sources of one Dataset may take: bytes, files, rows, memory. Counted while they are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kaon.contract.budgets import Budgets
from kaon_jobs.budget import MEMORY_FIELD, ByteCount, raising
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import memory_limit, memory_used

RATIO_FROM_BYTES = 256 * 1024**2
"""Bytes after decompression below which no ratio is too large."""
_ROW_BYTES = 700
"""Of memory for each row beside its text: its places in the lists and tables of reading, cleaning and dividing."""
TEXT_COPIES = 5
"""A text as it was read, in the form in which it is compared, and in the tables that are written, as measured."""
VALUE_BYTES = 32
"""Of a value of a table: its 8 bytes as they are read, joined, divided and written."""
ENTRY_BYTES = 128
"""Of a category that is new: its places in dictionaries."""
_MEMORY_SHARE = 0.9
_BUFFER_BYTES = 1024 * 1024


def too_large(uri: str, what: str, limit: str, way_out: str) -> StageFailure:
    """The refusal of a source over its budget."""
    return StageFailure("SourceTooLarge", f"{uri} {what}, and {limit} is the limit. {way_out}.")


@dataclass(slots=True)
class ReadingBudget:
    """The budgets of a Dataset, and what of them is used up."""

    budgets: Budgets = field(default_factory=Budgets)
    memory: int = field(default_factory=lambda: int(_MEMORY_SHARE * (memory_limit() - memory_used())))
    """Bytes of memory that there are for rows."""
    rows: int = 0
    held: int = 0
    """Bytes of memory that the rows so far will take."""
    cell_characters: int = field(init=False)
    _most_rows: int = field(init=False)
    _decompressed: dict[Path, int] = field(default_factory=dict)
    """Of each compressed file, the bytes of the longest of its readings."""

    def __post_init__(self) -> None:
        self.cell_characters, self._most_rows = self.budgets.cell_characters, self.budgets.rows

    def copying(self, scratch: Path) -> ByteCount:
        """The count of the bytes of all sources."""
        limit = self.budgets.source_bytes
        way_out = f"Name less data in spec.sources, {raising('source_bytes')}"

        def too_many(uri: str, found: int) -> StageFailure:
            return too_large(uri, f"and the sources before it have at least {found:,} bytes", f"{limit:,}", way_out)

        return ByteCount(limit, too_many, scratch)

    def spooling(self, scratch: Path) -> ByteCount:
        """The count of the bytes of images that are kept in scratch space."""
        limit = self.budgets.decompressed_bytes
        way_out = f"Name less data in spec.sources, {raising('decompressed_bytes')}"

        def too_many(uri: str, found: int) -> StageFailure:
            return too_large(uri, f"have at least {found:,} bytes", f"{limit:,}", way_out)

        return ByteCount(limit, too_many, scratch)

    def check_files(self, uri: str, count: int) -> None:
        """Refuses a folder of too many files."""
        most = self.budgets.source_files
        if count > most:
            way_out = f"Write its rows into fewer files, {raising('source_files')}"
            raise too_large(uri, f"has more than {most:,} files", f"{most:,}", way_out)

    def check_members(self, uri: str, count: int) -> None:
        """Refuses an archive of too many members."""
        most = self.budgets.archive_members
        if count > most:
            way_out = f"Divide it into several sources, {raising('archive_members')}"
            raise too_large(uri, f"has more than {most:,} members", f"{most:,}", way_out)

    def check_columns(self, uri: str, count: int) -> None:
        """Refuses a file of too many columns."""
        most = self.budgets.columns
        if count > most:
            way_out = f"Keep the columns that spec.schema names, {raising('columns')}"
            raise too_large(uri, f"has {count:,} columns", f"{most:,}", way_out)

    def row(self, uri: str, number: int, held: int = 0) -> None:
        """One more row, whose values take so many bytes of memory.

        Raises:
            StageFailure: SourceTooLarge.
        """
        self.rows += 1
        self.held += _ROW_BYTES + held
        if self.rows > self._most_rows or self.held > self.memory:
            raise self._too_many_rows(f"{uri} row {number:,}")

    def _too_many_rows(self, place: str) -> StageFailure:
        what = f"is row {self.rows:,} of the Dataset"
        if self.rows > self._most_rows:
            way_out = f"Name less data in spec.sources, {raising('rows')}"
            return too_large(place, what, f"{self._most_rows:,}", way_out)
        needed = f"{what}, and the rows up to it need {self.held:,} bytes of memory"
        return too_large(place, needed, f"{self.memory:,}", f"Raise {MEMORY_FIELD}, or name less data in spec.sources")

    def counted(self, uri: str, path: Path, stream: BinaryIO) -> BinaryIO:
        """The bytes of a compressed file, which end with SourceTooLarge where they are too many."""
        return io.BufferedReader(_Counted(self.counting(uri, path), stream), _BUFFER_BYTES)

    def counting(self, uri: str, path: Path) -> Callable[[int], None]:
        """What hears of each part of a compressed file how many bytes it has after decompression.

        It raises SourceTooLarge where they are too many.
        """
        others = sum(count for other, count in self._decompressed.items() if other != path)
        limit, size, found = self.budgets.decompressed_bytes - others, path.stat().st_size, 0

        def count(length: int) -> None:
            nonlocal found
            found += length
            self.decompressed(path, found)
            self._check_decompressed(uri, size, found, limit)

        return count

    def decompressed(self, path: Path, count: int) -> None:
        """A reading of the file has come so far."""
        self._decompressed[path] = max(count, self._decompressed.get(path, 0))

    def _check_decompressed(self, uri: str, size: int, found: int, limit: int) -> None:
        budgets = self.budgets
        if found > limit:
            raise too_large(
                uri,
                f"has more than {limit:,} bytes after decompression, with the files before it more than "
                f"{budgets.decompressed_bytes:,}",
                f"{budgets.decompressed_bytes:,}",
                f"Name less data in spec.sources, {raising('decompressed_bytes')}",
            )
        if found > max(RATIO_FROM_BYTES, budgets.compression_ratio * size):
            raise too_large(
                uri,
                f"has {size:,} bytes and more than {found:,} after decompression",
                f"{budgets.compression_ratio:,} times",
                "Decompress it and upload that, if it is meant, " + raising("compression_ratio"),
            )


class _Counted(io.RawIOBase):
    def __init__(self, count: Callable[[int], None], stream: BinaryIO) -> None:
        self._count = count
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._count(len(data))
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
