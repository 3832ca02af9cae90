"""Reads CSV and TSV: which character separates the columns, and rows that agree with the lines of the file. Pure.

A row in quotation marks may span lines. A quotation mark that opens no field is text: the rows below it are rows of
their own, and never part of a field. A row with more or fewer fields than the header cannot be read.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any

from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.data.cells import is_decimal
from kaon_jobs.data.rows import MAX_ROW_CHARACTERS, MAX_ROW_VALUES, Columns, FileRows
from kaon_jobs.data.values import BAD_BYTES
from kaon_jobs.errors import StageFailure

CANDIDATES = (",", "\t", ";", "|")
_TRIED_ROWS = 100
_LABELS = 10_000
_LABEL_CHARACTERS = 1024
_FIELD = re.compile('"(?:[^"]|"")*"')

Lines = Callable[[], Iterable[str]]
"""The lines of a file from its start, each time it is called."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a file are written."""

    delimiter: str
    delimiter_by: str
    header: tuple[str, ...]
    header_lines: int
    """Lines up to the end of the header."""
    spaces: bool
    """Whether a space follows each delimiter."""


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a row of the file is like."""

    width: int
    label_at: int
    known: Set[str] = frozenset()
    """Labels of rows beyond doubt."""
    numeric: bool = False
    """Whether labels are numbers, so that none is known before."""

    @property
    def tells(self) -> bool:
        """Whether a label tells something of a row."""
        return self.numeric or bool(self.known)

    def like(self, fields: list[str]) -> bool:
        """Whether these fields can be a row: as many as the header has, with a label as labels of the file are."""
        if len(fields) != self.width:
            return False
        label = fields[self.label_at].strip()
        return is_decimal(label) if self.numeric else not self.known or label in self.known


@dataclass(slots=True)
class _Record:
    fields: list[str]
    line: int
    """1-based, of its first line."""
    lines: int
    bad_bytes: bool
    open_quote: bool = False
    """A quotation mark was taken as text."""
    broken: bool = False
    """It spans lines and its quotation marks do not match."""
    too_wide: bool = False
    """It holds so many delimiters that its fields were not taken."""


class _TooWide(csv.Error):
    pass


def read_delimited(rows: FileRows, lines: Lines, delimiter: str, usual: str) -> tuple[str, str]:
    """Fills in the rows of a file. Returns its delimiter, and whether that was declared or detected.

    Args:
        delimiter: as in spec.delimiter.
        usual: the delimiter that the file's name stands for.
    """
    uri, columns = rows.uri, rows.columns
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    layout = find_layout(uri, lines, columns, delimiter, usual, rows.budget)
    if layout is None:
        return usual, "detected"
    _check_divided(uri, layout, columns)
    columns.check(uri, layout.header, header=True)
    *places, label_at = map(layout.header.index, columns.names)
    # Of one place it would give the value itself; of a slice it gives a list of one value.
    features_of = itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))
    width = len(layout.header)
    known = set() if columns.numeric else _labels_beyond_doubt(uri, lines, layout, label_at)
    expected = _Expected(width, label_at, known | set(columns.classes) if known else known, columns.numeric)
    widths: Counter[int] = Counter()
    for record in _records(uri, lines(), layout, expected):
        if record.open_quote and len(record.fields) == width and not expected.like(record.fields):
            # Half of a field must not become a class of its own.
            record.broken = bool(record.fields[label_at].strip())
        if not _add(rows, record, width, features_of, label_at):
            widths[len(record.fields)] += 1
    usual_width, count = widths.most_common(1)[0] if widths else (width, 0)
    if usual_width > width and 2 * count > rows.count:
        rows.way_out = (
            f"{count:,} rows have {usual_width} fields: write {usual_width} names into the header, one for each "
            "column, also for row numbers or empty values; or put fields that hold the delimiter in quotation marks."
        )
    repeated = len(layout.header) - len(set(layout.header))
    if repeated:
        rows.noticed["repeatedColumns"] = repeated
    undivided = all(unreadable.cause.startswith("1 field,") for unreadable in rows.examples)
    if rows.count and rows.unreadable == rows.count and undivided and layout.delimiter_by == "detected":
        name = {"\t": "a tab"}.get(layout.delimiter, repr(layout.delimiter))
        raise StageFailure(
            "SourceUnreadable",
            f"{rows.told()} The header is divided by {name}, and no row is. Set spec.delimiter.",
        )
    return layout.delimiter, layout.delimiter_by


def _labels_beyond_doubt(uri: str, lines: Lines, layout: Layout, label_at: int) -> set[str]:
    """The labels of rows of one line. With these a line inside of quotation marks is told from a row of its own."""
    if not any('"' in line for line in lines()):
        return set()
    width = len(layout.header)
    found: set[str] = set()
    for record in _records(uri, lines(), layout, _Expected(width, label_at)):
        if record.lines == 1 and len(record.fields) == width and not (record.open_quote or record.broken):
            label = record.fields[label_at].strip()
            if len(label) <= _LABEL_CHARACTERS:
                found.add(label)
        if len(found) > _LABELS:
            # These are no classes, and tell nothing from a row.
            return set()
    return found


def _check_divided(uri: str, layout: Layout, columns: Columns) -> None:
    """Refuses a header that no delimiter divides into the columns, where what to set depends on what the file is."""
    first = layout.header[0]
    names = columns.names
    if first.startswith(('{"', "[{", "[[")) and not any(name in layout.header for name in names[:-1]):
        raise StageFailure(
            "FormatUnknown",
            f"{uri} is read as csv, and begins like JSON. Set spec.format to json or jsonl.",
        )
    if len(layout.header) == 1 and all(name in first for name in names):
        detected = layout.delimiter_by == "detected"
        which = "neither comma, tab, semicolon nor bar divides" if detected else f"{layout.delimiter!r} does not divide"
        all_names = "both columns" if len(names) == 2 else f"all {len(names)} columns"
        raise StageFailure(
            "DelimiterUnknown",
            f"The first line of {uri} names {all_names}, and {which} it. Set spec.delimiter to what separates its "
            "columns.",
        )


def _add(rows: FileRows, record: _Record, width: int, features_of: itemgetter[Any], label_at: int) -> bool:
    """Adds a row; False when it has not as many fields as the header."""
    fields = record.fields
    if record.bad_bytes:
        rows.refuse(
            "bytes that are no text in the file's encoding",
            record.line,
            "Mend these bytes, or set spec.encoding to the encoding that the file was written in.",
        )
    elif record.too_wide:
        rows.refuse(f"more than {MAX_ROW_VALUES:,} fields, the limit", record.line, "Check spec.delimiter.")
    elif record.broken:
        last = f" up to line {record.line + record.lines - 1}" if record.lines > 1 else ""
        rows.refuse(
            f"a quotation mark is opened and not closed properly{last}",
            record.line,
            'Write a quotation mark inside of a field twice ("").',
        )
    elif not fields or (len(fields) == 1 and width > 1 and not fields[0].strip()):
        rows.noticed["blankLines"] += 1
    elif len(fields) != width:
        count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        rows.refuse(f"{count}, the header has {width}", record.line, _way_out(record, width))
        return False
    else:
        rows.noticed["openQuotes"] += record.open_quote
        rows.add(features_of(fields), fields[label_at], record.line)
    return True


def _way_out(record: _Record, width: int) -> str:
    """What mends a row that has not as many fields as the header."""
    if record.open_quote:
        return 'Write a quotation mark inside of a field twice ("").'
    if len(record.fields) < width:
        return "Complete or remove rows that are too short, and put fields that hold a line end in quotation marks."
    if not any(field.strip() for field in record.fields[width:]):
        return "Remove the delimiters at the end of rows that are too long."
    return "Put fields that hold the delimiter in quotation marks."


def find_layout(
    uri: str, lines: Lines, columns: Columns, declared: str, usual: str, budget: ReadingBudget
) -> Layout | None:
    """The delimiter and the header; None when the file has no line with text.

    A delimiter is the one under which the header has all columns. When several are, the rows decide.

    Raises:
        StageFailure: DelimiterUnknown or SourceTooLarge.
    """
    named = {"auto": None, "tab": "\t"}.get(declared, declared)
    start, first = _first_line(lines())
    if first is None:
        return None
    told = first.strip("\r\n").strip('"')
    if told.lower().startswith("sep=") and len(told) == 5:
        # Spreadsheets write their delimiter into a line of its own.
        named = named or told[4]
        start += 1
    marks = [named] if named else sorted(CANDIDATES, key=lambda mark: mark != usual)
    by = "declared" if declared != "auto" else "detected"
    tried = [_layout(uri, lines(), start, mark, by, budget) for mark in marks]
    wanted = set(columns.names)
    fitting = [one for one in tried if wanted <= set(one.header)]
    if len(fitting) < 2:
        return fitting[0] if fitting else max(tried, key=lambda one: len(one.header))
    shares = [(_fitting_rows(uri, lines(), one), one) for one in fitting]
    best = max(share for share, _ in shares)
    chosen = [one for share, one in shares if share == best]
    if len(chosen) > 1:
        several = " and by ".join(repr(one.delimiter) for one in chosen)
        raise StageFailure(
            "DelimiterUnknown", f"The header of {uri} has the columns when divided by {several}. Set spec.delimiter."
        )
    return chosen[0]


def _first_line(lines: Iterable[str]) -> tuple[int, str | None]:
    for number, line in enumerate(lines):
        if line.strip():
            return number, line
    return 0, None


def _layout(uri: str, lines: Iterable[str], skipped: int, delimiter: str, by: str, budget: ReadingBudget) -> Layout:
    layout = Layout(delimiter, by, (), skipped, spaces=False)
    record = next(_records(uri, lines, layout, None))
    budget.check_columns(uri, MAX_ROW_VALUES if record.too_wide else len(record.fields))
    spaces = sum(field.startswith(" ") for field in record.fields[1:]) == len(record.fields) - 1 > 0
    names = [field.strip() for field in record.fields]
    if spaces:
        names = [name.strip('"') for name in names]
    return Layout(delimiter, by, tuple(names), skipped + record.lines, spaces)


def _fitting_rows(uri: str, lines: Iterable[str], layout: Layout) -> float:
    rows = list(islice(_records(uri, lines, layout, None), _TRIED_ROWS))
    return sum(len(row.fields) == len(layout.header) for row in rows) / max(len(rows), 1)


def _records(uri: str, lines: Iterable[str], layout: Layout, expected: _Expected | None) -> Iterator[_Record]:
    """The rows below the header, with the lines that each spans.

    Against what is expected of a row, lines are told from rows. None: nothing is doubted.
    """
    source = islice(lines, layout.header_lines, None)
    ahead: deque[str] = deque()
    taken: list[str] = []
    again = size = marks = 0

    def feed() -> Iterator[str]:
        nonlocal size, marks
        while (line := ahead.popleft() if ahead else next(source, None)) is not None:
            taken.append(line)
            size += len(line)
            marks += line.count(layout.delimiter)
            if marks > MAX_ROW_VALUES:
                raise _TooWide
            if size > MAX_ROW_CHARACTERS:
                raise csv.Error("the row is too long")
            yield line

    def fresh() -> Iterator[list[str]]:
        return csv.reader(feed(), delimiter=layout.delimiter, strict=True, skipinitialspace=layout.spaces)

    reader = fresh()
    number = layout.header_lines + 1
    while True:
        taken.clear()
        size = marks = 0
        fields: list[str] = []
        failed = too_wide = False
        try:
            fields = next(reader, fields)
        except csv.Error as error:
            failed, too_wide = True, isinstance(error, _TooWide)
        if not taken:
            return
        alone = len(taken) == 1
        if too_wide and alone:
            reader = fresh()
            yield _Record([], number, 1, bad_bytes=False, too_wide=True)
            number += 1
            continue
        swallowed = not alone and expected is not None and _swallowed(taken, layout.delimiter, expected, failed=failed)
        if failed or swallowed:
            # The reader has lost its place, or has to begin again in the second line.
            reader = fresh()
        if (failed and alone) or swallowed:
            again += len(taken) - 1
            if again > 50 * (number + 10_000):
                raise StageFailure(
                    "SourceUnreadable",
                    f"{uri} line {number}: quotation marks are opened so often and not closed that the rows cannot be "
                    'told apart. Write a quotation mark inside of a field twice ("").',
                )
            ahead.extendleft(reversed(taken[1:]))
            fields = _literal(taken[0], layout.delimiter)
            yield _Record(fields, number, 1, BAD_BYTES in taken[0], open_quote=True)
            number += 1
            continue
        bad_bytes = any(BAD_BYTES in line for line in taken)
        yield _Record(fields, number, len(taken), bad_bytes, broken=failed)
        number += len(taken)


def _swallowed(lines: Sequence[str], delimiter: str, expected: _Expected, *, failed: bool) -> bool:
    """Whether a record over several lines is really several rows, joined by a quotation mark that opened no field.

    Its first and its last line say so, when both can be rows as they stand: a text that holds lines of CSV has the ends
    of its own field in these two. When the quotation marks do not even match, any two lines say so, or one behind the
    first that is beyond doubt by itself.
    """
    if not failed:
        # Without known labels too many lines of texts could be rows.
        return expected.tells and all(expected.like(_literal(line, delimiter)) for line in (lines[0], lines[-1]))
    if any(_is_whole_row(line, delimiter, expected) for line in lines[1:]):
        return True
    likely = (expected.like(_quoted(line, delimiter)) or expected.like(_literal(line, delimiter)) for line in lines)
    return len(list(islice(filter(None, likely), 2))) == 2


def _is_whole_row(line: str, delimiter: str, expected: _Expected) -> bool:
    return '"' not in _FIELD.sub("", line) and expected.like(_quoted(line, delimiter))


def _quoted(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _literal(line: str, delimiter: str) -> list[str]:
    plain = csv.reader([line], delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return [_unquoted(field) for field in next(plain, [])]


def _unquoted(field: str) -> str:
    inner = field.strip(" ")
    if len(inner) > 1 and inner[0] == inner[-1] == '"':
        return inner[1:-1].replace('""', '"')
    return field
