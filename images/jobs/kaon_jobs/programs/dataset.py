"""The dataset stage from end to end: read, clean, divide, write parquet splits with a data card, publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kaon.api.dataset import DataQuality, Rows
from kaon.api.report import DatasetResult, Result
from kaon.contract.jobspec import DatasetWork, JobSpec
from kaon_jobs.budget import MEMORY_FIELD, bounded_memory
from kaon_jobs.context import Context, now
from kaon_jobs.data import interactions
from kaon_jobs.data.card import Found, card_json, report_html
from kaon_jobs.data.catalogue import Items, write_items
from kaon_jobs.data.causes import check_left, explaining
from kaon_jobs.data.cells import as_arrow
from kaon_jobs.data.clean import Cleaned, clean, drop_leaked
from kaon_jobs.data.divide import Divided, divide
from kaon_jobs.data.fetch import fetch_sources
from kaon_jobs.data.interaction_card import InteractionCard
from kaon_jobs.data.profile import Profile, profile
from kaon_jobs.data.read import ReadSource, read_sources
from kaon_jobs.data.rows import Table
from kaon_jobs.data.splits import SPLITS, split_file, write_histories
from kaon_jobs.errors import StageFailure
from kaon_jobs.programs.content import with_content
from kaon_jobs.report.thumbnails import thumbnail
from kaon_jobs.store.artifact import publish

MAX_CLASSES = 1000
MAX_CLASS_LENGTH = 256
EXAMPLES_OF_A_CLASS, MOST_EXAMPLES = 8, 200
"""Images that the data card shows, of a class and in all."""
PART_BYTES = 64 * 1024**2
"""Of images that are written at once."""


def run(job: JobSpec, work: DatasetWork, context: Context) -> Result:
    """Makes the dataset artifact and returns the Result to report."""
    job = with_content(job, context)
    report = context.reporter
    fetched = context.sources or fetch_sources(work, context)
    report.progress("reading", 20)
    table, sources = read_sources(
        work, fetched, lambda uri, share: report.progress("reading", 20 + 40 * share), context.budgets
    )
    with bounded_memory(partial(_out_of_memory, len(table))):
        report.progress("cleaning", 60, metrics={"rowsRead": len(table)})
        out = context.workdir / "dataset"
        out.mkdir()
        make = _make_interactions if table.columns.of_interactions else _make_rows
        dataset = make(work, table, sources, out, partial(report.progress, "writing", 80))

    report.progress("publishing", 90)
    result = Result(cost=context.cost(), start_time=context.start_time, completion_time=now(), dataset=dataset)
    return publish(job, out, kind="dataset", attempt=context.attempt, result=result)


def _make_rows(
    work: DatasetWork, table: Table, sources: Sequence[ReadSource], out: Path, writing: Callable[..., None]
) -> DatasetResult:
    """Rows with a label each: cleaned, divided and written."""
    cleaned = clean(table, work.clean)
    check_left(table, cleaned)
    with explaining(table, cleaned):
        divided = _divide(table, cleaned, work)
        classes: list[str] = []
        if table.columns.numeric:
            check_targets(table, divided)
        else:
            classes = learn_classes(table, divided, list(table.columns.classes))
        check_categories(table, divided)
    quality = _quality(table, sources, cleaned, divided, classes)

    writing(metrics={"rows": len(cleaned.kept)})
    for split in SPLITS:
        _write_split(out / split_file(split), table, divided[split], classes)
    profiles, target = _profiles(table, divided)
    examples = _examples(table, divided, classes)
    seed = work.split.seed
    found = Found(work.task, table, sources, cleaned, divided, classes, quality, seed, profiles, target, examples)
    (out / "card.json").write_bytes(card_json(found))
    (out / "report.html").write_text(report_html(found), encoding="utf-8")
    return DatasetResult(
        rows=Rows(**{split: len(rows) for split, rows in divided.items()}),
        classes=classes,
        features=work.columns.features,
        quality=quality,
    )


def _make_interactions(
    work: DatasetWork, table: Table, sources: Sequence[ReadSource], out: Path, writing: Callable[..., None]
) -> DatasetResult:
    """What users did with items: cleaned, divided along the time and written as histories."""
    found, removed = interactions.clean(table, work.clean)
    divided = interactions.divide(found, table, work.split)
    writing(metrics={"rows": len(found)})
    items = Items(divided.items, divided.counts, divided.texts)
    write_items(out, items)
    for split in SPLITS:
        asked = divided.asked[split]
        users = [found.users[user] for user in asked.user]
        write_histories(out, split, users, asked.histories, asked.targets, asked.user)
    quality = DataQuality(
        **_counted(table, sources, len(removed.missing), len(removed.duplicates)),
        leakage=0,
        leakage_removed=len(removed.leaked),
        users=len(np.unique(found.user)),
        items=len(divided.items),
        left_out=len(removed.low) + len(removed.few),
    )
    card = InteractionCard(work.task, table, sources, found, removed, divided, quality, work.split.seed)
    (out / "card.json").write_bytes(card.json())
    (out / "report.html").write_text(card.html(), encoding="utf-8")
    return DatasetResult(rows=Rows(**divided.interactions), classes=[], features=work.columns.features, quality=quality)


def _out_of_memory(rows: int, limit: int) -> StageFailure:
    return StageFailure(
        "SourceTooLarge",
        f"{rows:,} rows were read, and to clean and divide them takes more than the pod's {limit:,} bytes of memory. "
        f"Raise {MEMORY_FIELD}, or name less data in spec.sources.",
    )


def _divide(table: Table, cleaned: Cleaned, work: DatasetWork) -> Divided:
    labels: dict[int, str] | dict[int, float] = (
        {row: table.targets[row] for row in cleaned.kept}
        if table.columns.numeric
        else {row: table.labels[row] or "" for row in cleaned.kept}
    )
    pinned = {row: table.pinned[row] for row in cleaned.kept}
    divided = divide(cleaned.kept, cleaned.keys, labels, pinned, work.split, table.place)
    # With duplicates allowed, a draw can put one copy of a text into test and leave another in train. A row of a table
    # has a key of its own then.
    test = set(divided["test"])
    before = len(cleaned.leaked)
    outside = Cleaned(kept=[row for row in cleaned.kept if row not in test], keys=cleaned.keys)
    drop_leaked(outside, {cleaned.keys[row] for row in test}, table)
    cleaned.leaked.extend(outside.leaked)
    if len(cleaned.leaked) == before:
        return divided
    gone = set(outside.leaked)
    cleaned.kept = [row for row in cleaned.kept if row not in gone]
    divided = {split: [row for row in rows if row not in gone] for split, rows in divided.items()}
    if not divided["train"]:
        what = table.columns.what
        raise StageFailure(
            "TrainSplitEmpty",
            f"Every training row has the {what} of a test row, so none is left to train on. Add rows with other "
            f"{what if table.columns.are_of_tables else f'{what}s'}, or set spec.clean.duplicates.method to exact.",
        )
    return divided


def learn_classes(table: Table, divided: Divided, given: list[str]) -> list[str]:
    """The classes in the order of their ids: as given, else those of the training rows, sorted.

    Raises:
        StageFailure: UnknownClass (a row has another class), TooFewClasses or TooManyClasses.
    """
    learnt = sorted({table.labels[row] or "" for row in divided["train"]})
    classes = list(dict.fromkeys(given)) or learnt
    known = set(classes)
    strange = Counter(
        table.labels[row] or "" for rows in divided.values() for row in rows if table.labels[row] not in known
    )
    if strange:
        # A label that is no class is somebody's data: its row is named, and not the label.
        first = min(row for rows in divided.values() for row in rows if table.labels[row] not in known)
        count = strange.total()
        rows = "1 row has" if count == 1 else f"{count:,} rows have"
        where = "not in spec.schema.label.classes" if given else "on no training row"
        raise StageFailure(
            "UnknownClass",
            f"{rows} a label that is {where} (different labels: {len(strange):,}). The first is {table.place(first)}. "
            "Add the class, or remove these rows.",
        )
    if len(classes) < 2:
        raise StageFailure(
            "TooFewClasses", "All rows have one and the same label. A classifier needs at least two classes."
        )
    if len(classes) > MAX_CLASSES or max(map(len, classes)) > MAX_CLASS_LENGTH:
        raise StageFailure(
            "TooManyClasses",
            f"There are {len(classes)} classes, the longest of {max(map(len, classes))} characters. At most "
            f"{MAX_CLASSES} classes of {MAX_CLASS_LENGTH} characters are possible. Is spec.schema.label.name really "
            "the label?",
        )
    return classes


def check_targets(table: Table, divided: Divided) -> None:
    """Refuses numbers to predict that are all the same.

    Raises:
        StageFailure: TargetConstant.
    """
    train = [table.targets[row] for row in divided["train"]]
    if min(train) == max(train):
        raise StageFailure(
            "TargetConstant",
            f"All training rows ({len(train):,}) have one and the same label, so there is nothing to learn. Is "
            "spec.schema.label.name really the label?",
        )


def check_categories(table: Table, divided: Divided) -> None:
    """Refuses columns of too many categories, or too long ones.

    Raises:
        StageFailure: TooManyCategories.
    """
    for feature, values in zip(table.columns.features, table.features, strict=True):
        if feature.type != "category":
            continue
        found = {values[row] for row in divided["train"]} - {None}
        longest = max((len(str(value)) for value in found), default=0)
        if len(found) > MAX_CLASSES or longest > MAX_CLASS_LENGTH:
            raise StageFailure(
                "TooManyCategories",
                f"The column {feature.name!r} has {len(found):,} different values in the training rows, the longest of "
                f"{longest:,} characters. At most {MAX_CLASSES:,} categories of {MAX_CLASS_LENGTH} characters are "
                "possible. Leave it out of spec.schema.features, give it the type number or datetime if it is one, or "
                "write rare values as one.",
            )


def _quality(
    table: Table, sources: Sequence[ReadSource], cleaned: Cleaned, divided: Divided, classes: list[str]
) -> DataQuality:
    train_keys = {cleaned.keys[row] for row in divided["train"]}
    per_class = Counter(table.labels[row] for row in divided["train"]) if classes else Counter()
    smallest = min(classes, key=lambda label: (per_class[label], label), default=None)
    return DataQuality(
        **_counted(table, sources, len(cleaned.missing), len(cleaned.duplicates)),
        leakage=sum(cleaned.keys[row] in train_keys for split in ("validation", "test") for row in divided[split]),
        leakage_removed=len(cleaned.leaked),
        min_rows_per_class=None if smallest is None else per_class[smallest],
        smallest_class=smallest,
    )


def _counted(table: Table, sources: Sequence[ReadSource], missing: int, duplicates: int) -> dict[str, Any]:
    """What every kind of Dataset counts of reading and cleaning, as DataQuality has it."""
    unreadable = sum(source.unreadable for source in sources)
    return {
        "rows_read": len(table),
        "unreadable": unreadable,
        "unreadable_ratio": round(unreadable / (len(table) + unreadable), 6),
        "missing": missing,
        "duplicates": duplicates,
        "missing_ratio": round(missing / len(table), 6),
        "duplicate_ratio": round(duplicates / len(table), 6),
    }


def _profiles(table: Table, divided: Divided) -> tuple[list[Profile], Profile | None]:
    """Of the columns of a table, and of labels that are numbers."""
    rows, train = [row for split in divided.values() for row in split], divided["train"]
    target = profile(table.columns.label, "number", table.targets, rows, train) if table.columns.numeric else None
    if not table.columns.are_of_tables:
        return [], target
    return [
        profile(feature.name, feature.type, values, rows, train)
        for feature, values in zip(table.columns.features, table.features, strict=True)
    ], target


def _examples(table: Table, divided: Divided, classes: list[str]) -> list[tuple[str, list[str]]]:
    """Of Datasets of images some training images of each class, as thumbnails; of many classes of the first ones."""
    if not table.columns.are_images:
        return []
    each = max(1, min(EXAMPLES_OF_A_CLASS, MOST_EXAMPLES // len(classes)))
    chosen: dict[str, list[int]] = {label: [] for label in classes[:MOST_EXAMPLES]}
    for row in divided["train"]:
        members = chosen.get(table.labels[row] or "")
        if members is not None and len(members) < each:
            members.append(row)
    return [(label, [thumbnail(table.image(row)) for row in rows]) for label, rows in chosen.items()]


def _write_split(path: Path, table: Table, rows: list[int], classes: list[str]) -> None:
    if not table.columns.are_images:
        pq.write_table(_split_table(table, rows, classes), path, compression="zstd")
        return
    # In parts: a column of bytes holds 2 GiB at most, and so does the memory for it.
    schema = _split_table(table, [], classes).schema
    with pq.ParquetWriter(path, schema, compression={name: "zstd" for name in schema.names if name != "image"}) as file:
        part: list[int] = []
        size = 0
        for row in rows:
            picture = table.pictures[row]
            assert picture is not None  # a row without one is missing
            part.append(row)
            size += picture.length
            if size >= PART_BYTES:
                file.write_table(_split_table(table, part, classes))
                part, size = [], 0
        if part:
            file.write_table(_split_table(table, part, classes))


def _split_table(table: Table, rows: list[int], classes: list[str]) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    if table.columns.are_images:
        columns["image"] = pa.array([table.image(row) for row in rows], pa.binary())
    elif table.columns.are_texts:
        columns["text"] = as_arrow("text", table.texts, rows)
    else:
        arrays = {
            feature.name: as_arrow(feature.type, values, rows)
            for feature, values in zip(table.columns.features, table.features, strict=True)
        }
        columns["features"] = pa.StructArray.from_arrays(list(arrays.values()), names=list(arrays))
    if table.columns.numeric:
        columns["target"] = as_arrow("number", table.targets, rows)
    else:
        ids = {label: index for index, label in enumerate(classes)}
        labels = [table.labels[row] or "" for row in rows]
        columns["label"] = pa.array(labels, pa.string())
        columns["label_id"] = pa.array([ids[label] for label in labels], pa.int64())
    columns["row_id"] = pa.array(rows, pa.int64())
    columns["source"] = pa.array([table.files[row] for row in rows], pa.string())
    return pa.table(columns)
