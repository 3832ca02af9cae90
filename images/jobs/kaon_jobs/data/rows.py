"""Rows as they are read: the table of all sources, and what one file gave. Touches nothing.

Every row remembers its file and number, so that a message can name it. An unreadable row is counted, never lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from kaon_jobs.budget import helm_value
from kaon_jobs.data.budget import ReadingBudget
from kaon_jobs.data.values import NotText, as_text, repaired
from kaon_jobs.errors import StageFailure

EXAMPLES = 5
"""Unreadable rows of a file that are named."""
MAX_ROW_CHARACTERS = 16 * 1024 * 1024
"""A row must fit into memory several times over."""
MAX_ROW_VALUES = 1_000_000
"""Values or fields of a row: each costs a hundred bytes of memory, however short it is."""


_WORD = re.compile(r"\w+")


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
class Columns:
    """Names of the two columns that are read, and the classes that are given, if any."""

    text: str
    label: str
    classes: Sequence[str] = ()

    def check(self, uri: str, there: Sequence[str], *, header: bool = False) -> None:
        """Refuses a file that lacks one of the columns, or has one twice."""
        for name, reason, where in (
            (self.text, "TextColumnMissing", "spec.schema.features"),
            (self.label, "LabelColumnMissing", "spec.schema.label.name"),
        ):
            count = sum(column == name for column in there)
            if count > 1:
                raise StageFailure(
                    "ColumnRepeated", f"{uri} has {count} columns of the name {name!r}. Rename or remove all but one."
                )
            if not count and header:
                # A file without a header has a row there, which no message repeats.
                alike = next((at for at, other in enumerate(there, start=1) if _plain(other) == _plain(name)), None)
                near = f", and column {alike} differs from it only in case, spaces or signs" if alike else ""
                raise StageFailure(
                    reason,
                    f"{uri} has no column {name!r} among the {len(there):,} in its first line{near}. Set {where} to "
                    "the name of one of them. Is the first line the header?",
                )
            if not count:
                have = ", ".join(shortened(column) for column in there[:30]) or "none"
                raise StageFailure(reason, f"{uri} has no column {name!r}; it has {have}. Set {where} to one of them.")


def _plain(name: str) -> str:
    """A name without what people write now one way and now another."""
    return "".join(filter(str.isalnum, name.casefold()))


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file was read, each fact declared in the spec or detected."""

    format: str
    format_by: str
    compression: str | None = None
    encoding: str | None = None
    encoding_by: str | None = None
    delimiter: str | None = None
    delimiter_by: str | None = None

    def wire(self) -> dict[str, str]:
        """The facts that there are, in camelCase."""
        return {name.replace("_by", "By"): value for name, value in sorted(asdict(self).items()) if value is not None}

    def sentence(self) -> str:
        """The same for people."""
        facts = [f"{self.format} ({self.format_by})"]
        if self.encoding is not None:
            facts.append(f"encoding {self.encoding} ({self.encoding_by})")
        if self.delimiter is not None:
            name = {"\t": "tab", " ": "space"}.get(self.delimiter, self.delimiter)
            facts.append(f"delimiter {name} ({self.delimiter_by})")
        if self.compression is not None:
            facts.append(self.compression)
        return ", ".join(facts)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read."""

    number: int
    line: int | None
    cause: str
    way_out: str

    def place(self) -> str:
        """Its number, and its line where a file has lines."""
        return f"row {self.number}" if self.line is None else f"row {self.number} (line {self.line})"


@dataclass(slots=True)
class FileRows:
    """What one file gave."""

    uri: str
    columns: Columns
    budget: ReadingBudget = field(default_factory=ReadingBudget)
    texts: list[str | None] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    count: int = 0
    """Rows that the file has, unreadable ones among them."""
    unreadable: int = 0
    examples: list[Unreadable] = field(default_factory=list)
    nested: str | None = None
    """JSON: the key under which a row holds the columns, instead of holding them itself."""
    way_out: str = ""
    """What mends most of the unreadable rows at once, where that is known. Else each of them has its own."""
    noticed: Counter[str] = field(default_factory=Counter)
    """Keys of NOTICES: what is worth a look, and in how many rows or lines."""

    def add(self, text: Any, label: Any, line: int | None = None) -> None:
        """The next row, with the values of its two columns."""
        name = self.columns.text
        try:
            text_text = as_text(text)
            name = self.columns.label
            label_text = as_text(label)
        except NotText as error:
            self.refuse(f"the column {name!r} holds {error}", line, f"Give {name!r} one text or number in each row.")
            return
        most = self.budget.cell_characters
        if len(text_text or "") > most or len(label_text or "") > most:
            named = {self.columns.text: len(text_text or ""), self.columns.label: len(label_text or "")}
            long = max(named, key=named.__getitem__)
            way_out = f"Cut it, or have an administrator raise the Helm value {helm_value('cell_characters')}."
            self.refuse(
                f"the column {long!r} holds {named[long]:,} characters, and {most:,} is the limit", line, way_out
            )
            return
        if text_text is not None and (whole := repaired(text_text)) != text_text:
            text_text = whole
            self.noticed["repaired"] += 1
        if label_text is not None and repaired(label_text) != label_text:
            way_out = f"Write the values of {name!r} with whole characters."
            self.refuse(f"the column {name!r} holds half of a surrogate pair, which is no character", line, way_out)
            return
        self.count += 1
        self.budget.row(self.uri, self.count, text_text, label_text)
        self.texts.append(text_text)
        self.labels.append(label_text)
        self.numbers.append(self.count)

    def refuse(self, cause: str, line: int | None, way_out: str = "") -> None:
        """The next row cannot be read."""
        self.count += 1
        self.budget.row(self.uri, self.count, None, None)
        self.unreadable += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(Unreadable(self.count, line, cause, way_out))

    def told(self) -> str:
        """The unreadable rows in sentences: how many, the first few, and what mends them."""
        first = ". ".join(f"{example.place().capitalize()}: {example.cause}" for example in self.examples)
        more = f" The first {len(self.examples)}:" if self.unreadable > len(self.examples) else ""
        ways = self.way_out or " ".join(dict.fromkeys(example.way_out for example in self.examples if example.way_out))
        share = f"{self.unreadable:,} of {self.count:,} rows cannot be read"
        return f"{self.uri}: {share}.{more} {first}. {ways}".rstrip()


NOTICES = {
    "blankLines": "blank lines, skipped",
    "repaired": "texts with half a surrogate pair, now U+FFFD",
    "openQuotes": "rows with a quotation mark that opens or closes no field, read as text",
    "repeatedColumns": "columns of a name that another one has; none of them is read",
}


def shortened(text: str, length: int = 40) -> str:
    """A text as part of a message: of bounded length, with U+FFFD for what cannot be printed."""
    whole = text if len(text) <= length else f"{text[:length]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in whole)


def named(key: str) -> str:
    """A key as part of a message, where it is a plain word; else empty, since it may be anybody's data."""
    return repr(key) if len(key) <= 40 and _WORD.fullmatch(key) else ""
