"""Dataset: from raw files to a versioned, checked, split dataset that training may trust."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, field_validator

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.common import StageSpec, StageStatus
from kaon.api.types import SOURCE_URI, Count, Digest, Figure, LocalReference, Ratio, bare_uri
from kaon.tasks.base import COLUMN_TYPES, TABLE_COLUMNS, Task
from kaon.tasks.registry import TASKS

KIND = "Dataset"
CLASS_NAMES_LENGTH = 65_536
"""Characters of all class names of a Dataset that its spec may hold, and of those that a status lists.

etcd takes 1.5 MiB for an object, and JSON up to six bytes for a character: spec and status hold the names.
"""

FEATURE_NAMES_LENGTH = 32_768
"""Characters of the names of all features of a Dataset, for the same reason: spec and result hold them."""

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
    type: FeatureType = Field(
        default="text",
        description="What the column holds. datetime: ISO 8601, or of Parquet. image: a JPEG or PNG file. Of "
        "interactions: user and item, names of any kind; time, a number such as seconds since 1970, or as datetime; "
        "rating, a number; text, of the item.",
    )


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

    cel_rules: ClassVar[Rules] = {
        Rule(
            "!has(self.label) || self.features.all(feature, feature.name != self.label.name)",
            "the label's column cannot be a feature: remove it from features",
        ): lambda self: self.label is None or all(feature.name != self.label.name for feature in self.features),
        Rule(
            f"self.features.map(feature, feature.name.size()).sum() <= {FEATURE_NAMES_LENGTH}",
            f"the names in features may have {FEATURE_NAMES_LENGTH} characters together: shorten them, or leave "
            "columns out",
        ): lambda self: sum(len(feature.name) for feature in self.features) <= FEATURE_NAMES_LENGTH,
    }

    features: list[Feature] = Field(
        min_length=1,
        max_length=MOST_FEATURES,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        description=f"The columns that a model reads. Of a task of texts or images one, of a table up to "
        f"{MOST_FEATURES}; of interactions a user, an item and what is known of them.",
    )
    label: Label | None = Field(
        default=None, description="The column to predict. Required, except where a task predicts items."
    )

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: list[Feature]) -> list[Feature]:
        # The API server refuses it by the list's type.
        names = [feature.name for feature in features]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the column {twice!r} stands in features more than once")
        return features

    @property
    def is_interactions(self) -> bool:
        """Whether a row is what a user did with an item."""
        return any(feature.type == "user" for feature in self.features)

    @property
    def is_table(self) -> bool:
        """Whether a row is one of a table, each a case of its own."""
        return not self.is_interactions and self.features[0].type in TABLE_COLUMNS

    @property
    def is_image(self) -> bool:
        """Whether a row is an image."""
        return self.features[0].type == "image"

    def of_type(self, kind: str) -> Feature | None:
        """The first column of a type; None when there is none."""
        return next((feature for feature in self.features if feature.type == kind), None)


class Duplicates(ApiModel):
    """How rows that repeat are found. They are dropped, the first one kept; sources of the test split stay whole.

    Of interactions the last one is kept.
    """

    method: Literal["none", "exact"] | None = Field(
        default=None,
        description="exact: equal text after Unicode NFC, case folding and white-space collapse; of a table equal in "
        "all features, of images in all pixels; of interactions of the same user and item, the last one kept. none: of "
        "a table each row is a case of its own, and no leakage is counted. Default: none for tables, else exact.",
    )


class UnreadableRows(ApiModel):
    """What is done about rows that cannot be read: too many or too few fields, bytes that are no text, broken JSON,
    values that are not of their column's type, images that cannot be decoded."""

    action: Literal["fail", "drop"] = Field(
        default="fail", description="fail: the first such rows are named. drop: they are left out and counted."
    )
    max: Ratio = Field(default=0.01, description="With drop: the share of all rows that may be left out.")


class Clean(ApiModel):
    """What is done to the rows before they are split."""

    missing: Literal["drop", "keep", "fail"] | None = Field(
        default=None,
        description="Rows with a missing value. drop: they are left out. keep: a missing feature is left to the model; "
        "rows without a label or without any feature are left out. Default: keep for tables, else drop.",
    )
    missing_values: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default_factory=list,
        max_length=20,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
        description='Texts that mean a missing value beside the empty one, such as "NA" or "?".',
    )
    unreadable_rows: UnreadableRows = Field(default_factory=UnreadableRows)
    duplicates: Duplicates = Field(default_factory=Duplicates)
    min_rating: Figure | None = Field(
        default=None, description="Of interactions: those with a lower rating are left out. Default: all count."
    )
    min_per_user: Count | None = Field(
        default=None, ge=1, description="Of interactions: users with fewer are left out, until none is left that has."
    )
    min_per_item: Count | None = Field(default=None, ge=1, description="The same of items.")

    def settled(self, *, tables: bool) -> Clean:
        """The same with nothing left to a default, which depends on whether rows are those of tables."""
        missing: Literal["drop", "keep"] = "keep" if tables else "drop"
        method: Literal["none", "exact"] = "none" if tables else "exact"
        return self.model_copy(
            update={
                "missing": self.missing or missing,
                "duplicates": Duplicates(method=self.duplicates.method or method),
            }
        )

    def unsettled(self, *, tables: bool) -> Clean:
        """The same with defaults left out, for a default that is written out is one that is left out."""
        default = Clean().settled(tables=tables)
        return self.model_copy(
            update={
                "missing": None if self.missing == default.missing else self.missing,
                "duplicates": Duplicates() if self.duplicates == default.duplicates else self.duplicates,
            }
        )


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
    stratify: bool = Field(
        default=True,
        description="Each class keeps its share in each split; of labels that are numbers each tenth of their range. "
        "Interactions have no classes.",
    )
    seed: int = Field(default=7, ge=0, le=2**31 - 1)
    by: Literal["time", "user", "random"] | None = Field(
        default=None,
        description="How interactions are divided. time: by points in time that are the same for all users, so that "
        "nothing is learnt from what comes after a question. user: the last ones of each user. random: a seeded draw "
        "from those of each user. Default: time where a column has this type, else random.",
    )


class QualityGate(ApiModel):
    """The gate of this stage. A figure outside fails the Dataset, without running it again when edited."""

    min_rows: Count | None = Field(default=None, ge=1)
    min_rows_per_class: Count | None = Field(
        default=None, ge=1, description="Over training rows; of labels that are classes."
    )
    max_missing_ratio: Ratio | None = None
    max_duplicate_ratio: Ratio | None = None
    max_leakage: Count = Field(
        default=0, description="Rows of test or validation whose text, image or features also stand in train."
    )


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


FOLDER: Final = "image-folder"
FORMATS: Final = ("auto", "csv", "jsonl", "json", "parquet", FOLDER)
IMAGE_FORMATS: Final = ("auto", "parquet", FOLDER)
"""Formats that hold images."""


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
    if not task.reads_tables:
        what = f"{task.columns[0]}s" if task.has_label else "users and items"
        found[
            Rule(
                f"{other} || !has(self.clean) || !has(self.clean.missing) || self.clean.missing != 'keep'",
                f"{task.name} reads {what}, and none can be missing: set clean.missing to drop or fail",
            )
        ] = lambda self: self.task != task.name or self.clean.missing != "keep"
    found |= _fits_label(task, other) | _fits_interactions(task, other)
    formats = [name for name in FORMATS if (name in IMAGE_FORMATS if task.columns == ("image",) else name != FOLDER)]
    found[
        Rule(
            f"{other} || !has(self.format) || self.format in {formats}",
            f"{task.name} is read from {', '.join(formats[1:])}: set format to one of these, or to auto",
        )
    ] = lambda self: self.task != task.name or self.format in formats
    if task.target != "class":
        says = "predicts a number" if task.target == "number" else "ranks items"
        found[
            Rule(
                f"{other} || !has(self.quality) || !has(self.quality.minRowsPerClass)",
                f"{task.name} {says}, and has no classes: remove quality.minRowsPerClass",
            )
        ] = lambda self: self.task != task.name or self.quality.min_rows_per_class is None
    if task.target == "number":
        found[
            Rule(
                f"{other} || !has(self.schema.label) || !has(self.schema.label.classes) || "
                "size(self.schema.label.classes) == 0",
                f"{task.name} predicts a number: remove schema.label.classes",
            )
        ] = lambda self: self.task != task.name or self.columns.label is None or not self.columns.label.classes
    return found


Checks = dict[Rule, Callable[[Any], bool]]


def _fits_label(task: Task, other: str) -> Checks:
    """Whether there is a label, which the task's name alone tells."""
    if task.has_label:
        rule = Rule(
            f"{other} || has(self.schema.label)", f"{task.name} predicts a column: set schema.label.name to its name"
        )
        return {rule: lambda self: self.task != task.name or self.columns.label is not None}
    rule = Rule(
        f"{other} || !has(self.schema.label)",
        f"{task.name} predicts the column of type item, and has no label: remove schema.label",
    )
    return {rule: lambda self: self.task != task.name or self.columns.label is None}


def _fits_interactions(task: Task, other: str) -> Checks:
    """What only interactions have, and what they must have."""
    found: Checks = {}
    if task.has_label:
        fields = ("clean.minRating", "clean.minPerUser", "clean.minPerItem", "split.by")
        absent = " && ".join(f"(!has(self.{name.split('.')[0]}) || !has(self.{name}))" for name in fields)
        found[
            Rule(
                f"{other} || ({absent})",
                f"{', '.join(fields)} are for interactions of users with items, and {task.name} has none: remove them",
            )
        ] = lambda self: (
            self.task != task.name
            or all(
                value is None
                for value in (self.clean.min_rating, self.clean.min_per_user, self.clean.min_per_item, self.split.by)
            )
        )
        return found

    def count(self: Any, kind: str) -> int:
        return sum(feature.type == kind for feature in self.columns.features)

    def told(kind: str) -> str:
        return f"size(self.schema.features.filter(feature, has(feature.type) && feature.type == '{kind}'))"

    found[
        Rule(
            f"{other} || ({told('user')} == 1 && {told('item')} == 1)",
            f"{task.name} reads what users did with items: give one column of schema.features the type user and one "
            "the type item",
        )
    ] = lambda self: self.task != task.name or (count(self, "user") == 1 and count(self, "item") == 1)
    texts = "size(self.schema.features.filter(feature, !has(feature.type) || feature.type == 'text'))"
    found[
        Rule(
            f"{other} || ({told('time')} <= 1 && {told('rating')} <= 1 && {texts} <= 1)",
            f"{task.name} reads one column at most of each of the types time, rating and text: remove the others from "
            "schema.features",
        )
    ] = lambda self: self.task != task.name or all(count(self, kind) <= 1 for kind in ("time", "rating", "text"))
    found[
        Rule(
            f"{other} || {told('time')} == 1 || !has(self.split) || !has(self.split.by) || self.split.by == 'random'",
            f"{task.name} orders interactions by a column of type time: name it in schema.features, or set split.by "
            "to random",
        )
    ] = lambda self: self.task != task.name or count(self, "time") == 1 or self.split.by in (None, "random")
    found[
        Rule(
            f"{other} || {told('rating')} == 1 || !has(self.clean) || !has(self.clean.minRating)",
            "clean.minRating is of a column of type rating: name it in schema.features, or remove clean.minRating",
        )
    ] = lambda self: self.task != task.name or count(self, "rating") == 1 or self.clean.min_rating is None
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
    format: Literal["auto", "csv", "jsonl", "json", "parquet", "image-folder"] = Field(
        default="auto",
        description="auto: by the name and the first bytes of each file. json: an array of objects. image-folder: a "
        "folder for each class, named as it, with its JPEG and PNG files; or a ZIP or tar archive of such folders.",
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

    def declared(self) -> dict[str, Any]:
        """Only what differs from the defaults, those of the kind of rows among them."""
        clean = self.clean.unsettled(tables=self.columns.is_table)
        return super(DatasetSpec, self.model_copy(update={"clean": clean})).declared()


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
    leakage: Count = Field(
        description="Rows of test or validation whose text, image or features also stand in train, after cleaning."
    )
    leakage_removed: Count = Field(
        default=0, description="Training rows dropped because the test split holds their text, image or features."
    )
    min_rows_per_class: Count | None = Field(
        default=None, description="Rows of the smallest class in train; absent where labels are numbers."
    )
    smallest_class: str | None = Field(default=None, max_length=256)
    users: Count | None = Field(default=None, description="Of interactions: users, after cleaning.")
    items: Count | None = Field(default=None, description="Of interactions: items that models know, those of train.")
    left_out: Count | None = Field(
        default=None, description="Of interactions: those of a low rating, or of users or items with too few."
    )


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
