"""The dataset stage from end to end: read, clean, divide, write parquet splits with a data card, publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kaon.api.dataset import DataQuality, Rows
from kaon.api.report import DatasetResult, Result
from kaon.contract.jobspec import DatasetWork, JobSpec
from kaon_jobs.budget import MEMORY_FIELD, bounded_memory
from kaon_jobs.context import Context, now
from kaon_jobs.data.card import Found, card_json, report_html
from kaon_jobs.data.causes import check_left, explaining
from kaon_jobs.data.clean import Cleaned, clean, drop_leaked
from kaon_jobs.data.divide import Divided, divide
from kaon_jobs.data.fetch import fetch_sources
from kaon_jobs.data.read import ReadSource, read_sources
from kaon_jobs.data.rows import Table
from kaon_jobs.data.splits import SPLITS, split_file
from kaon_jobs.errors import StageFailure
from kaon_jobs.programs.content import with_content
from kaon_jobs.store.artifact import publish

MAX_CLASSES = 1000
MAX_CLASS_LENGTH = 256


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
        cleaned = clean(table, work.clean)
        check_left(table, cleaned)
        with explaining(table, cleaned):
            divided = _divide(table, cleaned, work)
            classes = learn_classes(table, divided, work.columns.label.classes)
        quality = _quality(table, sources, cleaned, divided, classes)

        report.progress("writing", 80, metrics={"rows": len(cleaned.kept)})
        out = context.workdir / "dataset"
        out.mkdir()
        for split in SPLITS:
            _write_split(out / split_file(split), table, divided[split], classes)
        found = Found(work.task, table, sources, cleaned, divided, classes, quality, work.split.seed)
        (out / "card.json").write_bytes(card_json(found))
        (out / "report.html").write_text(report_html(found), encoding="utf-8")

    report.progress("publishing", 90)
    result = Result(
        cost=context.cost(),
        start_time=context.start_time,
        completion_time=now(),
        dataset=DatasetResult(
            rows=Rows(**{split: len(rows) for split, rows in divided.items()}), classes=classes, quality=quality
        ),
    )
    return publish(job, out, kind="dataset", attempt=context.attempt, result=result)


def _out_of_memory(rows: int, limit: int) -> StageFailure:
    return StageFailure(
        "SourceTooLarge",
        f"{rows:,} rows were read, and to clean and divide them takes more than the pod's {limit:,} bytes of memory. "
        f"Raise {MEMORY_FIELD}, or name less data in spec.sources.",
    )


def _divide(table: Table, cleaned: Cleaned, work: DatasetWork) -> Divided:
    labels = {row: table.labels[row] or "" for row in cleaned.kept}
    pinned = {row: table.pinned[row] for row in cleaned.kept}
    divided = divide(cleaned.kept, cleaned.keys, labels, pinned, work.split, table.place)
    # With duplicates allowed, a draw can put one copy of a text into test and leave another in train.
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
        raise StageFailure(
            "TrainSplitEmpty",
            "Every training row has the text of a test row, so none is left to train on. Add rows with other texts, "
            "or set spec.clean.duplicates.method to exact.",
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


def _quality(
    table: Table, sources: Sequence[ReadSource], cleaned: Cleaned, divided: Divided, classes: list[str]
) -> DataQuality:
    unreadable = sum(source.unreadable for source in sources)
    train_keys = {cleaned.keys[row] for row in divided["train"]}
    per_class = Counter(table.labels[row] for row in divided["train"])
    smallest = min(classes, key=lambda label: (per_class[label], label))
    return DataQuality(
        rows_read=len(table),
        unreadable=unreadable,
        unreadable_ratio=round(unreadable / (len(table) + unreadable), 6),
        missing=len(cleaned.missing),
        duplicates=len(cleaned.duplicates),
        missing_ratio=round(len(cleaned.missing) / len(table), 6),
        duplicate_ratio=round(len(cleaned.duplicates) / len(table), 6),
        leakage=sum(cleaned.keys[row] in train_keys for split in ("validation", "test") for row in divided[split]),
        leakage_removed=len(cleaned.leaked),
        min_rows_per_class=per_class[smallest],
        smallest_class=smallest,
    )


def _write_split(path: Path, table: Table, rows: list[int], classes: list[str]) -> None:
    ids = {label: index for index, label in enumerate(classes)}
    labels = [table.labels[row] or "" for row in rows]
    columns = pa.table(
        {
            "text": pa.array([table.texts[row] for row in rows], pa.string()),
            "label": pa.array(labels, pa.string()),
            "label_id": pa.array([ids[label] for label in labels], pa.int64()),
            "row_id": pa.array(rows, pa.int64()),
            "source": pa.array([table.files[row] for row in rows], pa.string()),
        }
    )
    pq.write_table(columns, path, compression="zstd")
