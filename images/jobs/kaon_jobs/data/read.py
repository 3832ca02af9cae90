"""Reads sources: CSV, TSV, JSON, Parquet or image folders, one file or a folder of files, into rows of features and
label.

Touches the store and a scratch directory. What a file is and how its rows are read stand beside this module.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kaon.api.dataset import FOLDER, UnreadableRows
from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import DatasetSource, DatasetWork
from kaon.tasks.registry import TASKS
from kaon_jobs.budget import MEMORY_FIELD, bounded_memory
from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.data.columnar import read_parquet
from kaon_jobs.data.delimited import read_delimited
from kaon_jobs.data.encoding import Found, find_encoding, lines, pieces
from kaon_jobs.data.files import DataFile, compression_of, identify, opened, reading
from kaon_jobs.data.image_folder import archive_of, odd_and_images, read_archive, read_folder
from kaon_jobs.data.jsontext import read_array, read_jsonl
from kaon_jobs.data.pictures import Spool
from kaon_jobs.data.rows import EXAMPLES, Columns, FileRows, Reading, Table, shortened
from kaon_jobs.data.values import one_spelling
from kaon_jobs.errors import StageFailure
from kaon_jobs.fetched import FetchedSource


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
    work: DatasetWork,
    fetched: Sequence[FetchedSource],
    progress: Callable[[str, float], None],
    budgets: Budgets | None = None,
) -> tuple[Table, list[ReadSource]]:
    """All rows of all sources, in order.

    Args:
        fetched: the files of each source, on this disk.
        progress: hears which source is read, and the share (0 to 1) of sources done.
        budgets: how much is read at most; default: Kaon's own.
    """
    budget = ReadingBudget(budgets or Budgets())
    columns = Columns.of(work.columns, TASKS[work.task], work.clean.missing_values)
    spool = Spool(copied=budget.spooling(Path(tempfile.gettempdir()))) if columns.are_images else None
    table = Table(columns, spool=spool)
    found: list[ReadSource] = []
    for index, (source, there) in enumerate(zip(work.sources, fetched, strict=True)):
        progress(source.uri, index / len(work.sources))
        found.append(_read_source(work, source, there.digest, there.files, columns, table, budget))
        for _, path in there.files:
            path.unlink(missing_ok=True)
    _check_unreadable(found, len(table), work.clean.unreadable_rows)
    table.labels = _one_spelling(table.labels, columns.classes)
    table.features = [
        _one_spelling(values, ()) if feature.type in ("category", "user") else values
        for feature, values in zip(columns.features, table.features, strict=True)
    ]
    return table, found


def _one_spelling(values: Any, given: Sequence[str]) -> list[str | None]:
    changed = one_spelling(values, given)
    return [changed.get(value, value) for value in values] if changed else values


def _read_source(
    work: DatasetWork,
    source: DatasetSource,
    digest: str,
    files: Sequence[tuple[str, Path]],
    columns: Columns,
    table: Table,
    budget: ReadingBudget,
) -> ReadSource:
    before, unreadable = len(table), 0
    examples: list[str] = []
    readings: dict[Reading, None] = {}
    noticed: Counter[str] = Counter()
    in_folder = files[0][0] != source.uri
    whole = in_folder and columns.are_images and _is_image_folder(work, source.uri, files)
    for uri, path in [(source.uri, files[0][1])] if whole else files:
        rows = FileRows(uri, columns, budget, table.spool)
        with bounded_memory(partial(_out_of_memory, rows)):
            if whole:
                how = read_folder(rows, files, by=_by(work))
            elif columns.are_images:
                how = _read_images(work, rows, path, in_folder=in_folder)
            else:
                file = identify(uri, path, work.format, budget, in_folder=in_folder)
                how = read_file(file, rows, work.encoding, work.delimiter)
        if rows.unreadable and work.clean.unreadable_rows.action == "fail":
            raise StageFailure("SourceUnreadable", f"{rows.told()}{_dropping(rows, work.clean.unreadable_rows)}")
        readings[how] = None
        unreadable += rows.unreadable
        examples += [f"{uri} {one.place()}: {one.cause}" for one in rows.examples[: EXAMPLES - len(examples)]]
        noticed += rows.noticed
        table.take(rows, source.split)
    if len(table) == before and not unreadable:
        raise StageFailure("SourceEmpty", f"{source.uri} has no rows. Name a file with at least one row.")
    return ReadSource(
        source.uri, digest, len(table) - before, unreadable, examples, sorted(readings, key=Reading.sentence), noticed
    )


def _is_image_folder(work: DatasetWork, uri: str, files: Sequence[tuple[str, Path]]) -> bool:
    """Whether a folder is one of images.

    Raises:
        StageFailure: FormatUnknown, where some of its files are images in class folders, and others are not.
    """
    if work.format != "auto":
        return work.format == FOLDER
    odd, images = odd_and_images(files, uri)
    if odd is not None and images:
        raise StageFailure(
            "FormatUnknown",
            f"{shortened(odd, 300)} is no JPEG or PNG file in a class folder, as others of its folder are. Take it out "
            "of the folder, or set spec.format to image-folder, so that each file in a class folder is a row.",
        )
    return odd is None


def _by(work: DatasetWork) -> str:
    return "detected" if work.format == "auto" else "declared"


def _read_images(work: DatasetWork, rows: FileRows, path: Path, *, in_folder: bool) -> Reading:
    """Fills in the rows of one file: an archive of image folders, or Parquet with a column of images.

    Raises:
        StageFailure: FormatUnknown, when it is neither.
    """
    uri = rows.uri
    compression = compression_of(path)
    archive = None if work.format == "parquet" else archive_of(path, compression, uri, rows.budget)
    if archive is not None and not in_folder:
        return read_archive(rows, DataFile(uri, path, archive, _by(work), compression))
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if is_parquet and work.format != FOLDER:
        read_parquet(rows, path)
        return Reading("parquet", _by(work))
    if in_folder:
        raise StageFailure(
            "FormatUnknown",
            f"{shortened(uri, 300)} is no image in a class folder and no Parquet. Take it out of the folder.",
        )
    wanted = "Parquet" if work.format == "parquet" else "a ZIP or tar archive of class folders with JPEG and PNG files"
    both = ", nor Parquet with a column of images" if work.format == "auto" else ""
    raise StageFailure("FormatUnknown", f"{shortened(uri, 300)} is not {wanted}{both}. Upload one of these.")


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


def _out_of_memory(rows: FileRows, limit: int) -> StageFailure:
    at = f"behind its row {rows.count:,}" if rows.count else "at its first rows"
    return StageFailure(
        "SourceTooLarge",
        f"{rows.uri} needs more memory than the pod's {limit:,} bytes {at}. If the file is whole, raise "
        f"{MEMORY_FIELD}, or write it with shorter rows, and Parquet with smaller row groups and pages.",
    )


def read_file(file: DataFile, rows: FileRows, encoding: str, delimiter: str) -> Reading:
    """Fills in the rows of one file. Returns how it was read."""
    if file.format == "parquet":
        read_parquet(rows, file.path)
        return Reading("parquet", file.format_by)
    columns = rows.columns
    with reading(file.uri, file.compression):
        with opened(file, rows.budget) as stream:
            found = find_encoding(file.uri, stream, encoding, columns.names)
        by: str | None = None
        mark: str | None = None
        if file.format == "jsonl":
            with closing(_lines(file, found, rows.budget)) as text:
                read_jsonl(rows, text)
        elif file.format == "json":
            with opened(file, rows.budget) as stream:
                read_array(rows, pieces(stream, found))
        else:
            usual = "\t" if file.format == "tsv" else ","
            mark, by = read_delimited(rows, lambda: _lines(file, found, rows.budget), delimiter, usual)
    format_name = "csv" if file.format == "tsv" else file.format
    return Reading(format_name, file.format_by, file.compression, found.name, found.by, mark, by)


def _lines(file: DataFile, encoding: Found, budget: ReadingBudget) -> Generator[str, None, None]:
    with opened(file, budget) as stream:
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
