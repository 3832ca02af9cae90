"""Rows as they are read: the table of all sources, and what one file gave. Touches nothing.

Every row remembers its file and number, so that a message can name it. An unreadable row is counted, never lost.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import asdict, dataclass, field
from operator import call
from sys import getsizeof
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kaon.api.dataset import DataSchema, Feature
from kaon.tasks.base import Task
from kaon_jobs.data.budget import ENTRY_BYTES, TEXT_COPIES, VALUE_BYTES, ReadingBudget
from kaon_jobs.data.cells import (
    Reader,
    Unfit,
    Values,
    held_as,
    is_missing,
    number_reader,
    order_reader,
    text_reader,
    time_reader,
)
from kaon_jobs.data.pictures import PICTURE_BYTES, Picture, Spool, picture_reader
from kaon_jobs.errors import StageFailure

EXAMPLES = 5
"""Unreadable rows of a file that are named."""
_NAMED = 10
"""Missing columns that a message names."""
MAX_ROW_CHARACTERS = 16 * 1024 * 1024
"""A row must fit into memory several times over."""
MAX_ROW_VALUES = 1_000_000
"""Values or fields of a row: each costs a hundred bytes of memory, however short it is."""


_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are read, by name and type, and the classes that are given, if any."""

    features: Sequence[Feature] = (Feature(name="text"),)
    label: str = "label"
    classes: Sequence[str] = ()
    numeric: bool = False
    """Whether the label is a number, and no class."""
    missing: Set[str] = frozenset()
    """Texts that mean a missing value."""
    of_interactions: bool = False
    """Whether a row is what a user did with an item, whose column is the label."""

    @classmethod
    def of(cls, schema: DataSchema, task: Task, missing: Iterable[str] = ()) -> Columns:
        """What a Dataset of the task declares."""
        texts = frozenset(text.strip() for text in missing)
        item = schema.of_type("item")
        if item is not None:
            # What is predicted is the item: it is read as other tasks' labels are.
            others = [feature for feature in schema.features if feature != item]
            return cls(others, item.name, missing=texts, of_interactions=True)
        assert schema.label is not None  # the rules of the spec
        numeric = task.target == "number"
        return cls(schema.features, schema.label.name, schema.label.classes, numeric=numeric, missing=texts)

    @property
    def names(self) -> list[str]:
        """Of all columns, the label's last."""
        return [*(feature.name for feature in self.features), self.label]

    @property
    def kinds(self) -> dict[str, str]:
        """Type of each column by its name, the label's last: a category or a number."""
        label = "number" if self.numeric else "category"
        return {**{feature.name: feature.type for feature in self.features}, self.label: label}

    @property
    def rows_are(self) -> Literal["text", "image", "table", "interactions"]:
        """What a row is: a text, an image, a row of a table, or what a user did with an item."""
        if self.of_interactions:
            return "interactions"
        kind = self.features[0].type
        return kind if kind in ("text", "image") else "table"  # type: ignore[return-value]

    @property
    def are_texts(self) -> bool:
        """Whether a row is a text."""
        return self.rows_are == "text"

    @property
    def are_images(self) -> bool:
        """Whether a row is an image."""
        return self.rows_are == "image"

    @property
    def are_of_tables(self) -> bool:
        """Whether a row is one of a table."""
        return self.rows_are == "table"

    @property
    def what(self) -> str:
        """What two rows have in common when they are alike, for people."""
        return {"table": "features", "interactions": "user and item"}.get(self.rows_are, self.rows_are)

    @property
    def missing_reason(self) -> str:
        """Why a file without one of the features is refused."""
        return {"text": "TextColumnMissing", "image": "ImageColumnMissing"}.get(self.rows_are, "FeatureColumnMissing")

    @property
    def missing_label(self) -> tuple[str, str]:
        """Why a file without the label's column is refused, and the field that names it."""
        if self.of_interactions:
            return "FeatureColumnMissing", "spec.schema.features"
        return "LabelColumnMissing", "spec.schema.label.name"

    def check(self, uri: str, there: Sequence[str], *, header: bool = False) -> None:
        """Refuses a file that lacks some of the columns, or has one twice."""
        counts = Counter(there)
        for name in self.names:
            if counts[name] > 1:
                raise StageFailure(
                    "ColumnRepeated",
                    f"{uri} has {counts[name]} columns of the name {name!r}. Rename or remove all but one.",
                )
        features = [name for name in self.names[:-1] if not counts[name]]
        if features:
            raise _no_columns(uri, features, there, self.missing_reason, "spec.schema.features", header=header)
        if not counts[self.label]:
            reason, where = self.missing_label
            raise _no_columns(uri, [self.label], there, reason, where, header=header)


def _no_columns(
    uri: str, names: Sequence[str], there: Sequence[str], reason: str, where: str, *, header: bool
) -> StageFailure:
    listed = ", ".join(map(repr, names[:_NAMED]))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    lacks = (
        f"{uri} has no column {listed}" if len(names) == 1 else f"{uri} lacks {len(names):,} columns: {listed}{more}"
    )
    way_out = f"Set {where} to one of them." if len(names) == 1 else f"Mend their names in {where}."
    if header:
        # A file without a header has a row there, which no message repeats.
        first = _plain(names[0])
        alike = next((at for at, other in enumerate(there, start=1) if _plain(other) == first), None)
        than = "it" if len(names) == 1 else "the first of them"
        near = f", and column {alike} differs from {than} only in case, spaces or signs" if alike else ""
        if len(names) == 1:
            way_out = f"Set {where} to the name of one of them."
        found = f" among the {len(there):,} in its first line{near}. {way_out} Is the first line the header?"
        return StageFailure(reason, f"{lacks}{found}")
    have = ", ".join(shortened(column) for column in there[:30]) or "none"
    return StageFailure(reason, f"{lacks}; it has {have}. {way_out}")


@dataclass(slots=True)
class Table:
    """Rows of all sources, column by column, in reading order."""

    columns: Columns = field(default_factory=Columns)
    features: list[Values] = field(default_factory=list)
    """A column for each feature."""
    labels: list[str | None] = field(default_factory=list)
    """Classes; empty where labels are numbers."""
    targets: array[float] = field(default_factory=lambda: array("d"))
    """Numbers to predict, NaN where one is missing; empty where labels are classes."""
    pinned: list[str | None] = field(default_factory=list)
    """The split that the row's source belongs to, if it says so."""
    files: list[str] = field(default_factory=list)
    """URI of the row's file."""
    numbers: list[int] = field(default_factory=list)
    """1-based number of the row in its file, a header not counted; 0 where the file is the row."""
    spool: Spool | None = None
    """The files of images."""

    def __post_init__(self) -> None:
        self.features = self.features or [held_as(feature.type) for feature in self.columns.features]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def texts(self) -> list[str | None]:
        """The one column of a Dataset of texts."""
        texts = self.features[0]
        assert isinstance(texts, list)
        return texts

    @property
    def pictures(self) -> list[Picture | None]:
        """The one column of a Dataset of images."""
        pictures = self.features[0]
        assert isinstance(pictures, list)
        return pictures

    @property
    def unlabelled(self) -> NDArray[np.bool_]:
        """Which rows have no label."""
        return is_missing(self.targets if self.columns.numeric else self.labels)

    def place(self, row: int) -> str:
        """Where a row stands, for people."""
        return f"{self.files[row]} row {self.numbers[row]}" if self.numbers[row] else self.files[row]

    def image(self, row: int) -> bytes:
        """The file of a row's image."""
        assert self.spool is not None  # of a table of images
        picture = self.pictures[row]
        assert picture is not None  # of a row that cleaning has kept
        return self.spool.get(picture)

    def take(self, rows: FileRows, split: str | None) -> None:
        """Adds the rows of a file, whose source belongs to the split."""
        for own, new in zip(self.features, rows.features, strict=True):
            own += new  # type: ignore[operator]
        if self.columns.numeric:
            self.targets += rows.labels
        else:
            self.labels += rows.labels
        self.numbers += rows.numbers
        self.pinned += [split] * len(rows.numbers)
        self.files += rows.files or [rows.uri] * len(rows.numbers)


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
    archive: str | None = None

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
        facts += [fact for fact in (self.archive, self.compression) if fact is not None]
        return ", ".join(facts)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read."""

    number: int
    line: int | None
    cause: str
    way_out: str
    name: str | None = None
    """Its path in the source, where it is a file of its own."""

    def place(self) -> str:
        """Its number, and its line where a file has lines; of a file of its own its path."""
        if self.name is not None:
            return shortened(self.name, 200)
        return f"row {self.number}" if self.line is None else f"row {self.number} (line {self.line})"


@dataclass(slots=True)
class FileRows:
    """What one file gave."""

    uri: str
    columns: Columns
    budget: ReadingBudget = field(default_factory=ReadingBudget)
    spool: Spool | None = None
    """Takes the files of images."""
    names: list[str] = field(init=False)
    """Of all columns, the label's last."""
    features: list[Values] = field(init=False)
    labels: Any = field(init=False)
    """Texts, or an array of numbers."""
    numbers: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """URI of each row, where each is a file of its own; else empty."""
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
    _texts: bool = field(init=False)
    _readers: list[Reader] = field(init=False)
    _append: list[Callable[[Any], None]] = field(init=False)
    _label_reader: Reader = field(init=False)
    _known: dict[int, dict[str, str]] = field(init=False)
    """Of each column of categories, by its place: its values. Rows of one category share it in memory."""

    def __post_init__(self) -> None:
        columns = self.columns
        self.names, self._texts = columns.names, columns.are_texts
        self.features = [held_as(feature.type) for feature in columns.features]
        self.labels = held_as("number" if columns.numeric else "category")
        self._append = [column.append for column in self.features]
        self._readers = [self._reader(feature.name, feature.type) for feature in columns.features]
        self._label_reader = self._reader(columns.label, "target" if columns.numeric else "category")
        repeating = () if columns.are_texts else ("category", "user", "text")
        self._known = {at: {} for at, feature in enumerate(columns.features) if feature.type in repeating}

    def _reader(self, name: str, kind: str) -> Reader:
        missing = self.columns.missing
        match kind:
            case "number":
                otherwise = f"If {name!r} holds no numbers, give it the type category in spec.schema.features."
                return number_reader(name, missing, otherwise)
            case "target":
                return number_reader(name, missing, "If labels are no numbers, set spec.task to a task of classes.")
            case "rating":
                return number_reader(name, missing, f"If {name!r} is no rating, leave it out of spec.schema.features.")
            case "datetime":
                return time_reader(name, missing)
            case "image":
                assert self.spool is not None  # of a Dataset of images
                return picture_reader(name, self.spool)
            case "time":
                return order_reader(name, missing)
            case _:
                noticed = self.noticed if kind == "text" else None
                return text_reader(name, missing, self.budget.cell_characters, noticed)

    def add(
        self, values: Sequence[Any], label: Any, line: int | None = None, *, name: str | None = None, file: str = ""
    ) -> None:
        """The next row, with the values of its features and of its label.

        Args:
            name: path of the row in the source, where it is a file of its own.
            file: the URI of that file.
        """
        try:
            read = list(map(call, self._readers, values))
            read_label = self._label_reader(label)
        except Unfit as unfit:
            self.refuse(unfit.cause, line, unfit.way_out, name=name)
            return
        self.count += 1
        held = TEXT_COPIES * getsizeof(read[0]) if self._texts else self._held(read)
        self.budget.row(self.uri, self.count, held + getsizeof(read_label))
        for append, value in zip(self._append, read, strict=True):
            append(value)
        self.labels.append(read_label)
        self.numbers.append(0 if name is not None else self.count)
        if name is not None:
            self.files.append(file)

    def _held(self, read: list[Any]) -> int:
        """Bytes of memory that a row of a table, or of an image, takes. Categories that are known already are put in
        their place."""
        held = PICTURE_BYTES if self.columns.are_images else VALUE_BYTES * len(read)
        for at, known in self._known.items():
            value = read[at]
            if value is not None:
                same = known.setdefault(value, value)
                if same is value:
                    held += ENTRY_BYTES + getsizeof(value)
                read[at] = same
        return held

    def refuse(self, cause: str, line: int | None, way_out: str = "", *, name: str | None = None) -> None:
        """The next row cannot be read."""
        self.count += 1
        self.budget.row(self.uri, self.count)
        self.unreadable += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(Unreadable(self.count, line, cause, way_out, name))

    def told(self) -> str:
        """The unreadable rows in sentences: how many, the first few, and what mends them."""
        first = ". ".join(
            f"{example.place() if example.name is not None else example.place().capitalize()}: {example.cause}"
            for example in self.examples
        )
        more = f" The first {len(self.examples)}:" if self.unreadable > len(self.examples) else ""
        ways = self.way_out or " ".join(dict.fromkeys(example.way_out for example in self.examples if example.way_out))
        share = f"{self.unreadable:,} of {self.count:,} rows cannot be read"
        return f"{self.uri}: {share}.{more} {first}. {ways}".rstrip()


NOTICES = {
    "blankLines": "blank lines, skipped",
    "repaired": "texts with half a surrogate pair, now U+FFFD",
    "openQuotes": "rows with a quotation mark that opens or closes no field, read as text",
    "hidden": "files of an archive whose names begin with . or _, skipped",
    "repeatedColumns": "columns of a name that another one has; none of them is read",
}


def shortened(text: str, length: int = 40) -> str:
    """A text as part of a message: of bounded length, with U+FFFD for what cannot be printed."""
    whole = text if len(text) <= length else f"{text[:length]}…"
    return "".join(character if character.isprintable() else "\ufffd" for character in whole)


def named(key: str) -> str:
    """A key as part of a message, where it is a plain word; else empty, since it may be anybody's data."""
    return repr(key) if len(key) <= 40 and _WORD.fullmatch(key) else ""
