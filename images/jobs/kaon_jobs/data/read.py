"""Reads sources: CSV, TSV, JSON or Parquet, one file or a folder of files, into rows of text and label.

Touches the store and a scratch directory. What a file is and how its rows are read stand beside this module.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kaon.api.dataset import UnreadableRows
from kaon.contract.jobspec import DatasetSource, DatasetWork
from kaon_jobs.data.columnar import read_parquet
from kaon_jobs.data.delimited import read_delimited
from kaon_jobs.data.encoding import Found, find_encoding, lines, pieces
from kaon_jobs.data.fetch import FetchedSource
from kaon_jobs.data.files import DataFile, identify, opened, reading
from kaon_jobs.data.jsontext import read_array, read_jsonl
from kaon_jobs.data.rows import EXAMPLES, Columns, FileRows, Reading, Table
from kaon_jobs.data.values import one_spelling
from kaon_jobs.errors import StageFailure


@dataclass(frozen=True, slots=True)
class ReadSource:
    """What a source turned out to be."""

    uri: str
    digest: str
    rows: int
    unreadable: int = 0
    """Rows that were left out."""
    examples: Sequence[str] = ()
    """The first of these: where each stands, and why it cannot be read."""
    readings: Sequence[Reading] = ()
    """How its files were read, each way once."""
    noticed: Counter[str] = field(default_factory=Counter)
    """Keys of NOTICES, with their counts."""


def read_sources(
    work: DatasetWork, fetched: Sequence[FetchedSource], progress: Callable[[str, float], None]
) -> tuple[Table, list[ReadSource]]:
    """All rows of all sources, in order.

    Args:
        fetched: the files of each source, on this disk.
        progress: hears which source is read, and the share (0 to 1) of sources done.
    """
    columns = Columns(work.columns.features[0].name, work.columns.label.name, work.columns.label.classes)
    if columns.text == columns.label:
        raise StageFailure(
            "ColumnRepeated", f"The column {columns.text!r} is both the text and the label in spec.schema. Name two."
        )
    table, found = Table(), []
    for index, (source, there) in enumerate(zip(work.sources, fetched, strict=True)):
        progress(source.uri, index / len(work.sources))
        found.append(_read_source(work, source, there.digest, there.files, columns, table))
    _check_unreadable(found, len(table), work.clean.unreadable_rows)
    changed = one_spelling(table.labels, columns.classes)
    if changed:
        table.labels = [changed.get(label, label) if label is not None else None for label in table.labels]
    return table, found


def _read_source(
    work: DatasetWork,
    source: DatasetSource,
    digest: str,
    files: Sequence[tuple[str, Path]],
    columns: Columns,
    table: Table,
) -> ReadSource:
    before, unreadable = len(table), 0
    examples: list[str] = []
    readings: dict[Reading, None] = {}
    noticed: Counter[str] = Counter()
    in_folder = files[0][0] != source.uri
    for uri, path in files:
        file = identify(uri, path, work.format, in_folder=in_folder)
        rows, how = read_file(file, columns, work.encoding, work.delimiter)
        if rows.unreadable and work.clean.unreadable_rows.action == "fail":
            raise StageFailure("SourceUnreadable", f"{rows.told()}{_dropping(rows, work.clean.unreadable_rows)}")
        readings[how] = None
        unreadable += rows.unreadable
        examples += [f"{uri} {one.place()}: {one.cause}" for one in rows.examples[: EXAMPLES - len(examples)]]
        noticed += rows.noticed
        table.texts += rows.texts
        table.labels += rows.labels
        table.numbers += rows.numbers
        table.pinned += [source.split] * len(rows.texts)
        table.files += [uri] * len(rows.texts)
    if len(table) == before and not unreadable:
        raise StageFailure("SourceEmpty", f"{source.uri} has no rows. Name a file with at least one row.")
    return ReadSource(
        source.uri, digest, len(table) - before, unreadable, examples, sorted(readings, key=Reading.sentence), noticed
    )


def _dropping(rows: FileRows, rule: UnreadableRows) -> str:
    """The way out of leaving the unreadable rows out; empty when they are most of the file."""
    if 2 * rows.unreadable > rows.count:
        return ""
    # Rounded up, so that the bound holds.
    share = math.ceil(1000 * rows.unreadable / rows.count) / 1000
    bound = (
        f" and spec.clean.unreadableRows.max to {share:g} or more" if rows.unreadable > rule.max * rows.count else ""
    )
    return f" Or set spec.clean.unreadableRows.action to drop{bound}: they are left out and counted then."


def read_file(file: DataFile, columns: Columns, encoding: str, delimiter: str) -> tuple[FileRows, Reading]:
    """The rows of one file, and how it was read."""
    if file.format == "parquet":
        return read_parquet(file.uri, file.path, columns), Reading("parquet", file.format_by)
    with reading(file.uri, file.compression):
        with opened(file.path, file.compression) as stream:
            found = find_encoding(file.uri, stream, encoding, (columns.text, columns.label))
        by: str | None = None
        mark: str | None = None
        if file.format == "jsonl":
            with closing(_lines(file, found)) as text:
                rows = read_jsonl(file.uri, text, columns)
        elif file.format == "json":
            with opened(file.path, file.compression) as stream:
                rows = read_array(file.uri, pieces(stream, found), columns)
        else:
            usual = "\t" if file.format == "tsv" else ","
            rows, mark, by = read_delimited(file.uri, lambda: _lines(file, found), columns, delimiter, usual)
    format_name = "csv" if file.format == "tsv" else file.format
    return rows, Reading(format_name, file.format_by, file.compression, found.name, found.by, mark, by)


def _lines(file: DataFile, encoding: Found) -> Generator[str, None, None]:
    with opened(file.path, file.compression) as stream:
        yield from lines(file.uri, stream, encoding)


def _check_unreadable(sources: Sequence[ReadSource], readable: int, rule: UnreadableRows) -> None:
    unreadable = sum(source.unreadable for source in sources)
    total = readable + unreadable
    first = ". ".join([example for source in sources for example in source.examples][:EXAMPLES])
    if unreadable and not readable:
        raise StageFailure(
            "SourceUnreadable",
            f"None of {total:,} rows can be read. The first: {first}. Check spec.format, spec.encoding, "
            "spec.delimiter and the files.",
        )
    if unreadable > rule.max * total:
        raise StageFailure(
            "SourceUnreadable",
            f"{unreadable:,} of {total:,} rows cannot be read, and spec.clean.unreadableRows.max allows a share of "
            f"{rule.max:g}. The first: {first}. Mend these rows, or raise the limit.",
        )
