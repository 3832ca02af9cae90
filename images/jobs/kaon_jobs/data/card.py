"""The data card: what is in a dataset, what cleaning removed and why. card.json for programs, report.html for people.

Pure: the found figures in, text out; the same bytes for the same data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kaon.api.dataset import DataQuality
from kaon.contract.digest import canonical_json
from kaon_jobs.data.clean import Cleaned
from kaon_jobs.data.divide import Divided
from kaon_jobs.data.read import ReadSource
from kaon_jobs.data.rows import NOTICES, Table
from kaon_jobs.data.words import count_words
from kaon_jobs.report import html

LENGTH_BINS = 30
EXAMPLES = 10
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Found:
    """Everything the card tells of."""

    task: str
    table: Table
    sources: Sequence[ReadSource]
    cleaned: Cleaned
    divided: Divided
    classes: Sequence[str]
    quality: DataQuality
    seed: int


def card_json(found: Found) -> bytes:
    """The card for programs. `baseline` is what live traffic is compared with for drift."""
    lengths = _lengths(found)
    train = [lengths[row] for row in found.divided["train"]]
    edges, counts = length_histogram(train)
    value = {
        "task": found.task,
        "classes": list(found.classes),
        "rows": {split: len(rows) for split, rows in found.divided.items()},
        "classCounts": {split: _class_counts(found, split) for split in found.divided},
        "sources": [_source(source) for source in found.sources],
        "quality": found.quality.wire(),
        "conflictingLabels": len(found.cleaned.conflicts),
        "removed": {
            name: {"rows": len(rows), "first": [found.table.place(row) for row in rows[:EXAMPLES]]}
            for name, rows in _removed(found).items()
        },
        "textLength": {"unit": "words", "quantiles": _quantiles(list(lengths.values()))},
        "baseline": {
            "textLengthWords": {"edges": edges, "counts": counts},
            "classShares": {
                label: round(count / max(len(train), 1), 6) for label, count in _class_counts(found, "train").items()
            },
        },
        "seed": found.seed,
    }
    return canonical_json(value)


def report_html(found: Found) -> str:
    """The card for people."""
    quality, table = found.quality, found.table
    counts = {split: _class_counts(found, split) for split in found.divided}
    removed = _removed(found)
    edges, histogram = length_histogram(list(_lengths(found).values()))
    sections = [
        (
            "Rows",
            html.table(
                ("split", "rows", "share"),
                [
                    (split, len(rows), len(rows) / max(sum(map(len, found.divided.values())), 1))
                    for split, rows in found.divided.items()
                ],
            )
            + html.paragraph(f"{quality.rows_read:,} rows were read; the draw used seed {found.seed}.", note=True),
        ),
        (
            "What cleaning removed, and why",
            html.table(
                ("reason", "rows", "first of them"),
                [(_REASONS[name], len(rows), "; ".join(map(table.place, rows[:3]))) for name, rows in removed.items()],
            ),
        ),
        (
            "What reading found",
            html.table(
                ("finding", "count", "source"),
                [
                    *(
                        ("rows that could not be read, left out", source.unreadable, "; ".join(source.examples))
                        for source in found.sources
                        if source.unreadable
                    ),
                    *(
                        (what, source.noticed[name], source.uri)
                        for source in found.sources
                        for name, what in NOTICES.items()
                        if source.noticed[name]
                    ),
                ],
            )
            + html.paragraph(f"{quality.rows_read:,} rows were read, {quality.unreadable:,} were left out.", note=True),
        ),
        (
            "Worth a look",
            html.table(
                ("finding", "count", "first of them"),
                [
                    (
                        "texts that occur with more than one label",
                        len(found.cleaned.conflicts),
                        "; ".join(map(table.place, found.cleaned.conflicts[:3])),
                    ),
                    ("test or validation rows whose text also stands in train", quality.leakage, ""),
                    (
                        f"training rows of the smallest class, {quality.smallest_class!r}",
                        quality.min_rows_per_class,
                        "",
                    ),
                ],
            ),
        ),
        (
            "Classes",
            html.table(
                ("class", *counts), [(label, *(counts[split][label] for split in counts)) for label in found.classes]
            ),
        ),
        *(
            (f"Classes of {split}", html.bars([(label, count) for label, count in by_class.items()][:50]))
            for split, by_class in counts.items()
            if found.divided[split]
        ),
        ("Length of texts", html.histogram(edges, histogram, "words")),
        (
            "Sources",
            html.table(
                ("uri", "read as", "rows", "digest"),
                [
                    (
                        source.uri,
                        "; ".join(reading.sentence() for reading in source.readings),
                        source.rows,
                        source.digest,
                    )
                    for source in found.sources
                ],
            ),
        ),
    ]
    return html.page("Data card", sections)


_REASONS = {
    "missing": "no text or no label",
    "duplicates": "repeats an earlier row",
    "leaked": "its text is in the test split",
}


def _source(source: ReadSource) -> dict[str, object]:
    return {
        "uri": source.uri,
        "digest": source.digest,
        "rows": source.rows,
        "unreadable": {"rows": source.unreadable, "first": list(source.examples)},
        "readAs": [reading.wire() for reading in source.readings],
        "noticed": {name: source.noticed[name] for name in NOTICES if source.noticed[name]},
    }


def _removed(found: Found) -> dict[str, list[int]]:
    cleaned = found.cleaned
    return {"missing": cleaned.missing, "duplicates": cleaned.duplicates, "leaked": cleaned.leaked}


def _class_counts(found: Found, split: str) -> dict[str, int]:
    counted = Counter(found.table.labels[row] for row in found.divided[split])
    return {label: counted[label] for label in found.classes}


def _lengths(found: Found) -> dict[int, int]:
    return {row: count_words(found.table.texts[row] or "") for rows in found.divided.values() for row in rows}


def length_histogram(lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Edges and counts; the last bin holds whatever is longer than the 99th percentile."""
    if not lengths:
        return [0, 1], [0]
    top = sorted(lengths)[int(0.99 * (len(lengths) - 1))]
    width = max(1, -(-top // LENGTH_BINS))
    bins = max(1, -(-(top + 1) // width))
    counted = Counter(min(length // width, bins - 1) for length in lengths)
    return [index * width for index in range(bins + 1)], [counted[index] for index in range(bins)]


def _quantiles(lengths: list[int]) -> dict[str, int]:
    ordered = sorted(lengths)
    return {f"{share:g}": ordered[int(share * (len(ordered) - 1))] for share in _QUANTILES} if ordered else {}
