"""The data card: what is in a dataset, what cleaning removed and why. card.json for programs, report.html for people.

Pure: the found figures in, text out; the same bytes for the same data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.dataset import DataQuality
from kaon.contract.digest import canonical_json
from kaon_jobs.data.clean import Cleaned
from kaon_jobs.data.divide import Divided
from kaon_jobs.data.pictures import Picture
from kaon_jobs.data.profile import CHARTS, QUANTILES, Profile
from kaon_jobs.data.read import ReadSource
from kaon_jobs.data.rows import NOTICES, Table, shortened
from kaon_jobs.data.words import count_words
from kaon_jobs.report import html

LENGTH_BINS = 30
EXAMPLES = 10
_BRIGHTNESS = list(range(0, 257, 16))
"""Edges of the histogram of brightness."""


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
    profiles: Sequence[Profile] = ()
    """Of the columns of a table."""
    target: Profile | None = None
    """Of labels that are numbers."""
    examples: Sequence[tuple[str, Sequence[str]]] = ()
    """Of images: each class with thumbnails of some training rows, as data URIs."""


def card_json(found: Found) -> bytes:
    """The card for programs. `baseline` is what live traffic is compared with for drift."""
    value: dict[str, Any] = {
        "task": found.task,
        "rows": {split: len(rows) for split, rows in found.divided.items()},
        "sources": [source_card(source) for source in found.sources],
        "quality": found.quality.wire(),
        "conflictingLabels": len(found.cleaned.conflicts),
        "removed": {
            name: {"rows": len(rows), "first": [found.table.place(row) for row in rows[:EXAMPLES]]}
            for name, rows in _removed(found).items()
        },
        "seed": found.seed,
    }
    baseline: dict[str, Any] = {}
    if found.classes:
        value["classes"] = list(found.classes)
        value["classCounts"] = {split: _class_counts(found, split) for split in found.divided}
        count = max(len(found.divided["train"]), 1)
        baseline["classShares"] = {
            label: round(rows / count, 6) for label, rows in value["classCounts"]["train"].items()
        }
    if found.table.columns.are_texts:
        lengths = _lengths(found)
        edges, counts = length_histogram([lengths[row] for row in found.divided["train"]])
        value["textLength"] = {"unit": "words", "quantiles": quantiles(list(lengths.values()))}
        baseline["textLengthWords"] = {"edges": edges, "counts": counts}
    elif found.table.columns.are_images:
        value["images"], baseline["images"] = _images(found)
    else:
        value["features"] = [profile.card() for profile in found.profiles]
        baseline["features"] = [profile.drift() for profile in found.profiles]
    if found.target is not None:
        value["target"] = found.target.card()
        baseline["target"] = found.target.drift()
    return canonical_json({**value, "baseline": baseline})


def report_html(found: Found) -> str:
    """The card for people."""
    quality, table = found.quality, found.table
    counts = {split: _class_counts(found, split) for split in found.divided} if found.classes else {}
    removed = _removed(found)
    reasons = _reasons(found)
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
                [(reasons[name], len(rows), "; ".join(map(table.place, rows[:3]))) for name, rows in removed.items()],
            ),
        ),
        reading_section(found.sources, quality),
        ("Worth a look", html.table(("finding", "count", "first of them"), _findings(found))),
        *_class_sections(found, counts),
        *_content_sections(found),
        sources_section(found.sources),
    ]
    return html.page("Data card", sections)


def reading_section(sources: Sequence[ReadSource], quality: DataQuality) -> tuple[str, str]:
    """What reading found, for the page."""
    left_out = [
        ("rows that could not be read, left out", source.unreadable, "; ".join(source.examples))
        for source in sources
        if source.unreadable
    ]
    noticed = [
        (what, source.noticed[name], source.uri)
        for source in sources
        for name, what in NOTICES.items()
        if source.noticed[name]
    ]
    note = f"{quality.rows_read:,} rows were read, {quality.unreadable:,} were left out."
    table = html.table(("finding", "count", "source"), [*left_out, *noticed])
    return "What reading found", table + html.paragraph(note, note=True)


def sources_section(sources: Sequence[ReadSource]) -> tuple[str, str]:
    """What was read and how, for the page."""
    rows = [
        (
            source.uri,
            "; ".join(reading.sentence() for reading in source.readings),
            source.rows,
            source.digest,
        )
        for source in sources
    ]
    return "Sources", html.table(("uri", "read as", "rows", "digest"), rows)


def _findings(found: Found) -> list[tuple[str, int, str]]:
    """What people should look at, how often it was found, and where."""
    quality, table, cleaned = found.quality, found.table, found.cleaned
    findings: list[tuple[str, int, str]] = []
    if cleaned.compared:
        what = table.columns.what
        alike, stands = (f"{what}s", f"{what} also stands")
        if table.columns.are_of_tables:
            alike, stands = "rows", "features also stand"
        conflicts = "; ".join(map(table.place, cleaned.conflicts[:3]))
        findings.append((f"{alike} that occur with more than one label", len(cleaned.conflicts), conflicts))
        findings.append((f"test or validation rows whose {stands} in train", quality.leakage, ""))
    if quality.smallest_class is not None and quality.min_rows_per_class is not None:
        name = f"training rows of the smallest class, {quality.smallest_class!r}"
        findings.append((name, quality.min_rows_per_class, ""))
    for what, of in (
        (
            "columns with one value or none in the training rows",
            [one.name for one in found.profiles if one.is_constant],
        ),
        ("columns of which more than half is missing", [one.name for one in found.profiles if one.missing > 0.5]),
    ):
        if found.profiles:
            findings.append((what, len(of), "; ".join(map(shortened, of[:EXAMPLES]))))
    return findings


def _class_sections(found: Found, counts: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    if not found.classes:
        return []
    rows = [(label, *(counts[split][label] for split in counts)) for label in found.classes]
    charts = [
        (f"Classes of {split}", html.bars([(label, count) for label, count in by_class.items()][:50]))
        for split, by_class in counts.items()
        if found.divided[split]
    ]
    return [("Classes", html.table(("class", *counts), rows)), *charts]


def _content_sections(found: Found) -> list[tuple[str, str]]:
    """What the rows hold."""
    if found.table.columns.are_texts:
        edges, histogram = length_histogram(list(_lengths(found).values()))
        return [("Length of texts", html.histogram(edges, histogram, "words"))]
    if found.table.columns.are_images:
        return _image_sections(found)
    profiles, target = found.profiles, found.target
    sections = []
    if target is not None:
        text = f"{target.name}: {target.sentence()}."
        sections.append(("Labels", html.paragraph(text) + target.chart()))
    rows = [(shortened(one.name, 64), one.type, one.missing, one.sentence()) for one in profiles]
    charted = ""
    if len(profiles) > CHARTS:
        charted = f" of the first {CHARTS} of {len(profiles)} columns; card.json has the figures of all"
    note = f"Charts show the training rows{charted}. The first and the last bar hold whatever lies beyond."
    table = html.table(("column", "type", "missing", "values"), rows)
    sections.append(("Columns", table + html.paragraph(note, note=True)))
    return sections + [(f"{shortened(one.name, 64)} ({one.type})", one.chart()) for one in profiles[:CHARTS]]


def _reasons(found: Found) -> dict[str, str]:
    what = found.table.columns.what
    missing, leaked = f"no {what} or no label", f"its {what} is in the test split"
    if found.table.columns.are_of_tables:
        missing = f"rows that {found.cleaned.lacks} or no label"
        leaked = "its features are those of a row of the test split"
    return {"missing": missing, "duplicates": "repeats an earlier row", "leaked": leaked}


def source_card(source: ReadSource) -> dict[str, object]:
    """What was read and how, for card.json."""
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


def _pictures(found: Found, rows: Iterable[int]) -> list[Picture]:
    pictures = (found.table.pictures[row] for row in rows)
    return [picture for picture in pictures if picture is not None]


def _images(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the images are like, of all splits; and what drift is measured against, of the training split."""
    every = _pictures(found, (row for rows in found.divided.values() for row in rows))
    train = _pictures(found, found.divided["train"])
    figures = {
        "width": quantiles([picture.width for picture in every]),
        "height": quantiles([picture.height for picture in every]),
        "bytes": quantiles([picture.length for picture in every]),
        "formats": dict(sorted(Counter(picture.form for picture in every).items())),
        "colours": dict(sorted(Counter("grey" if picture.grey else "colour" for picture in every).items())),
    }
    sizes, size_counts = length_histogram([max(picture.width, picture.height) for picture in train])
    return figures, {
        "longerSide": {"edges": sizes, "counts": size_counts},
        "brightness": {"edges": _BRIGHTNESS, "counts": _brightness(train)},
        "grey": round(sum(picture.grey for picture in train) / max(1, len(train)), 6),
    }


def _brightness(pictures: Sequence[Picture]) -> list[int]:
    counted = Counter(picture.brightness // _BRIGHTNESS[1] for picture in pictures)
    return [counted[index] for index in range(len(_BRIGHTNESS) - 1)]


def _image_sections(found: Found) -> list[tuple[str, str]]:
    figures, baseline = _images(found)
    quantiles = [
        (name, *(figures[key].get(share, 0) for share in ("0", "0.5", "1")))
        for name, key in (("width, pixels", "width"), ("height, pixels", "height"), ("bytes", "bytes"))
    ]
    kinds = ", ".join(f"{count:,} {name}" for key in ("formats", "colours") for name, count in figures[key].items())
    shown = [
        (f"Examples of {shortened(label, 64)}", html.pictures([(uri, "") for uri in uris]))
        for label, uris in found.examples
        if uris
    ]
    if len(found.examples) < len(found.classes):
        note = f"Examples of the first {len(found.examples)} of {len(found.classes)} classes are shown."
        shown.append(("More classes", html.paragraph(note, note=True)))
    side, light = baseline["longerSide"], baseline["brightness"]
    return [
        ("Images", html.table(("figure", "least", "middle", "most"), quantiles) + html.paragraph(f"{kinds}.")),
        ("Longer side of training images", html.histogram(side["edges"], side["counts"], "pixels")),
        ("Mean brightness of training images", html.histogram(light["edges"], light["counts"], "0 to 255")),
        *shown,
    ]


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


def quantiles(counts: Sequence[int] | NDArray[np.int64]) -> dict[str, int]:
    """Share -> value; empty where there are none."""
    ordered = np.sort(np.asarray(counts, np.int64))
    return {f"{share:g}": int(ordered[int(share * (len(ordered) - 1))]) for share in QUANTILES} if len(ordered) else {}
