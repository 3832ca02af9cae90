"""Dataset: from raw files to a versioned, checked, split dataset that training may trust."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.common import StageSpec, StageStatus
from kaon.api.types import SOURCE_URI, Count, Digest, Figure, LocalReference, Ratio, bare_uri
from kaon.tasks.base import COLUMN_TYPES, Task
from kaon.tasks.registry import TASKS

KIND = "Dataset"
CLASS_NAMES_LENGTH = 65_536
"""Characters of all class names of a Dataset that its spec may hold, and of those that a status lists.

etcd takes 1.5 MiB for an object, and JSON up to six bytes for a character: spec and status hold the names.
"""

MOST_FEATURES = max(task.most_columns for task in TASKS.values())

ClassName = Annotated[str, Field(max_length=256)]


def listed(names: Sequence[str]) -> list[str]:
    """The first of some class names, as many as a status lists."""
    lengths = accumulate(map(len, names))
    return [name for name, length in zip(names, lengths, strict=True) if length <= CLASS_NAMES_LENGTH]


def _known_task(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}")
    return name


TaskName = Annotated[str, AfterValidator(_known_task), Field(json_schema_extra={"enum": list(TASKS)})]


def _known_type(name: str) -> str:
    if name not in COLUMN_TYPES:
        raise ValueError(f"there is no type {name!r}; the types are {', '.join(COLUMN_TYPES)}")
    return name


FeatureType = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(COLUMN_TYPES)})]


class Source(ApiModel):
    """One file, or one folder of files, of raw data."""

    cel_rules: ClassVar[Rules] = dict([bare_uri("uri", lambda self: self.uri)])

    uri: str = Field(
        max_length=1024,
        pattern=SOURCE_URI,
        description="s3:// gs:// az:// https://, or file:///mnt/… (a mounted claim).",
    )
    digest: Digest | None = Field(default=None, description="Pin: a source with other bytes is refused.")
    secret_ref: LocalReference | None = Field(
        default=None, description="Secret with the options of this source's store. Default: the stage's storage Secret."
    )
    split: Literal["train", "test"] | None = Field(
        default=None, description="Rows go to this split. Default: divided by spec.split."
    )


class Feature(ApiModel):
    """One input column."""

    name: str = Field(min_length=1, max_length=256)
    type: FeatureType = Field(default="text", description="What the column holds. datetime: ISO 8601, or of Parquet.")


class Label(ApiModel):
    """The column to predict."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            f"!has(self.classes) || self.classes.map(name, name.size()).sum() <= {CLASS_NAMES_LENGTH}",
            f"the names in classes may have {CLASS_NAMES_LENGTH} characters together: shorten them, or leave classes "
            "out, so that they are learnt from the training rows",
        ): lambda self: sum(map(len, self.classes)) <= CLASS_NAMES_LENGTH
    }

    name: str = Field(min_length=1, max_length=256)
    classes: list[ClassName] = Field(
        default_factory=list,
        max_length=1000,
        description=f"Allowed classes, in order; at most {CLASS_NAMES_LENGTH} characters together. Default: learnt "
        "from the training rows, sorted.",
    )


class DataSchema(ApiModel):
    """Which columns are what."""

    features: list[Feature] = Field(
        min_length=1,
        max_length=MOST_FEATURES,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description=f"The columns that a model reads. Of a task of texts one, of a table up to {MOST_FEATURES}.",
    )
    label: Label


class Duplicates(ApiModel):
    """How rows that repeat are found. They are dropped, the first one kept; sources of the test split stay whole."""

    method: Literal["none", "exact"] = Field(
        default="exact", description="exact: equal text after Unicode NFC, case folding and white-space collapse."
    )


class UnreadableRows(ApiModel):
    """What is done about rows that cannot be read: too many or too few fields, bytes that are no text, broken JSON."""

    action: Literal["fail", "drop"] = Field(
        default="fail", description="fail: the first such rows are named. drop: they are left out and counted."
    )
    max: Ratio = Field(default=0.01, description="With drop: the share of all rows that may be left out.")


class Clean(ApiModel):
    """What is done to the rows before they are split."""

    missing: Literal["drop", "fail"] = Field(default="drop", description="Rows without text or label.")
    unreadable_rows: UnreadableRows = Field(default_factory=UnreadableRows)
    duplicates: Duplicates = Field(default_factory=Duplicates)


class Split(ApiModel):
    """How rows without a split of their own are divided, by a seeded, stratified draw."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "(has(self.validation) ? self.validation : 0.1) + (has(self.test) ? self.test : 0.2) < 1.0",
            "validation + test must be below 1, or nothing is left to train on",
        ): lambda self: self.validation + self.test < 1
    }

    validation: float = Field(default=0.1, ge=0, lt=1, description="Share of the training rows kept for validation.")
    test: float = Field(default=0.2, ge=0, lt=1, description="Share of rows for the test split, when no source is one.")
    stratify: bool = True
    seed: int = Field(default=7, ge=0, le=2**31 - 1)


class QualityGate(ApiModel):
    """The gate of this stage. A figure outside fails the Dataset, without running it again when edited."""

    min_rows: Count | None = Field(default=None, ge=1)
    min_rows_per_class: Count | None = Field(default=None, ge=1, description="Over training rows.")
    max_missing_ratio: Ratio | None = None
    max_duplicate_ratio: Ratio | None = None
    max_leakage: Count = Field(default=0, description="Rows of test or validation whose text also stands in train.")


Encoding = Literal[
    "auto",
    "utf-8",
    "utf-16",
    "gb18030",
    "big5",
    "shift_jis",
    "euc-jp",
    "iso-2022-jp",
    "euc-kr",
    "latin-1",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "windows-874",
    "koi8-r",
]
"""Encodings of text files, by the names that the web's encoding standard and Python share."""

DELIMITER = r"^(auto|tab|[\x09 !#-/:-@\x5b-`{-~])$"


def _fits(task: Task) -> Rules:
    """Rules for what the columns of a task are."""
    types = ", ".join(task.columns)
    most = "one column" if task.most_columns == 1 else f"1 to {task.most_columns} columns"
    other = f"self.task != '{task.name}'"
    found: dict[Rule, Callable[[Any], bool]] = {
        Rule(
            f"{other} || (size(self.schema.features) <= {task.most_columns} && self.schema.features.all(feature, "
            f"(has(feature.type) ? feature.type : 'text') in {list(task.columns)}))",
            f"{task.name} reads {most} of type {types}: set these in schema.features",
        ): lambda self: (
            self.task != task.name
            or (
                len(self.columns.features) <= task.most_columns
                and all(feature.type in task.columns for feature in self.columns.features)
            )
        )
    }
    if task.target == "number":
        found[
            Rule(
                f"{other} || !has(self.schema.label.classes) || size(self.schema.label.classes) == 0",
                f"{task.name} predicts a number: remove schema.label.classes",
            )
        ] = lambda self: self.task != task.name or not self.columns.label.classes
    return found


class DatasetSpec(StageSpec):
    """What a Dataset is made of and what it must satisfy."""

    cel_rules: ClassVar[Rules] = {
        **{rule: check for task in TASKS.values() for rule, check in _fits(task).items()},
        Rule(
            f"!has(self.delimiter) || self.delimiter.matches(r'{DELIMITER}')",
            "delimiter must be auto, tab, or one ASCII character that is no letter, digit, quotation mark or line end",
        ): lambda self: re.fullmatch(DELIMITER, self.delimiter) is not None,
    }

    task: TaskName
    sources: list[Source] = Field(min_length=1, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    format: Literal["auto", "csv", "jsonl", "json", "parquet"] = Field(
        default="auto", description="auto: by the name and the first bytes of each file. json: an array of objects."
    )
    encoding: Encoding = Field(
        default="auto",
        description="Encoding of text files. auto: found out for each file, told in the data card, and refused when "
        "the bytes leave a doubt.",
    )
    delimiter: str = Field(
        default="auto",
        max_length=4,
        description="What separates the columns of csv: one character, or tab. auto: comma, tab, semicolon or bar, by "
        "the header.",
    )
    columns: Annotated[DataSchema, Field(alias="schema")]
    clean: Clean = Field(default_factory=Clean)
    split: Split = Field(default_factory=Split)
    quality: QualityGate = Field(default_factory=QualityGate)


class Rows(ApiModel):
    """Rows by split."""

    train: Count = 0
    validation: Count = 0
    test: Count = 0


class DataQuality(ApiModel):
    """What reading and cleaning found. Ratios are of the rows read, that of unreadable rows is of all rows."""

    rows_read: Count
    unreadable: Count = Field(default=0, description="Rows left out because they could not be read.")
    unreadable_ratio: Figure = 0
    missing: Count
    duplicates: Count
    missing_ratio: Figure
    duplicate_ratio: Figure
    leakage: Count = Field(description="Rows of test or validation whose text also stands in train, after cleaning.")
    leakage_removed: Count = Field(
        default=0, description="Training rows dropped because the test split holds their text."
    )
    min_rows_per_class: Count = Field(description="Rows of the smallest class in train.")
    smallest_class: str = Field(default="", max_length=256)


class DatasetStatus(StageStatus):
    """What came out."""

    version: str | None = Field(default=None, max_length=16, description="First 12 hex digits of the artifact digest.")
    rows: Rows | None = None
    classes: list[ClassName] = Field(
        default_factory=list,
        max_length=1000,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description=f"The classes, in order; the first ones where all names have more than {CLASS_NAMES_LENGTH} "
        "characters. The artifact has them all.",
    )
    class_count: Count | None = Field(default=None, description="How many classes there are.")
    quality: DataQuality | None = None
