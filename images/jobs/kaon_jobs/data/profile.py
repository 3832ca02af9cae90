"""What a column of a table is like: its figures for the data card, and what live traffic is compared with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kaon_jobs.data.cells import Values, as_numpy, is_missing
from kaon_jobs.report import html

BINS = 30
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
TOP_VALUES = 20
"""Categories that the card lists."""
BASELINE_VALUES = 100
"""Categories that drift is measured over; the others count as one."""
CHARTS = 30
"""Columns that the page draws."""
_SHOWN_VALUES = 5
_SHOWN_CHARACTERS = 24
_YEAR_MICROSECONDS = 365.2425 * 86_400e6


@dataclass(frozen=True, slots=True)
class Profile:
    """A column: its name and type, the share of its values that are missing, and its figures."""

    name: str
    type: str
    missing: float
    figures: Mapping[str, Any]
    """Of the rows of all splits."""
    baseline: Mapping[str, Any]
    """Of the training rows."""
    is_constant: bool
    """Whether the training rows have one value at most, so that a model learns nothing from it."""

    def card(self) -> dict[str, Any]:
        """For card.json."""
        return {"name": self.name, "type": self.type, "missing": self.missing, **self.figures}

    def drift(self) -> dict[str, Any]:
        """For the baseline in card.json."""
        return {"name": self.name, "type": self.type, **self.baseline}

    def sentence(self) -> str:
        """Its values, for people."""
        figures = self.figures
        if self.type == "category":
            shown = list(figures["values"].items())[:_SHOWN_VALUES]
            listed = ", ".join(f"{value[:_SHOWN_CHARACTERS]} ({count:,})" for value, count in shown)
            more = figures["distinct"] - len(shown)
            return f"{figures['distinct']:,} different: {listed}{f' and {more:,} more' if more else ''}"
        if not figures["quantiles"]:
            return "no value"
        low, middle, high = (_shown(figures["quantiles"][share]) for share in ("0", "0.5", "1"))
        return f"{low} to {high}, median {middle}"

    def chart(self) -> str:
        """The training rows' values as SVG."""
        if self.type == "category":
            return html.bars(list(self.baseline["values"].items())[:TOP_VALUES])
        edges = self.baseline["edges"]
        if self.type == "datetime":
            micros = np.array(edges, "datetime64[us]").astype(np.int64)
            return html.histogram(
                [1970 + edge / _YEAR_MICROSECONDS for edge in micros], self.baseline["counts"], "year"
            )
        return html.histogram(edges, self.baseline["counts"], self.name[:_SHOWN_CHARACTERS])


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def profile(name: str, kind: str, values: Values, rows: Sequence[int], train: Sequence[int]) -> Profile:
    """The profile of a column.

    Args:
        rows: of all splits.
        train: those of the training split.
    """
    absent = is_missing(values)
    missing = round(float(absent[np.asarray(rows, np.int64)].mean()), 6)
    missing_in_train = round(float(absent[np.asarray(train, np.int64)].mean()), 6)
    if isinstance(values, list):
        counts = Counter(value for row in rows if (value := values[row]) is not None)
        in_train = Counter(value for row in train if (value := values[row]) is not None)
        figures = {"distinct": len(counts), **_top(counts, TOP_VALUES)}
        baseline = {"missing": missing_in_train, **_top(in_train, BASELINE_VALUES)}
        return Profile(name, kind, missing, figures, baseline, len(in_train) < 2)
    of_all, of_train = _present(values, absent, rows), _present(values, absent, train)
    edges, binned = histogram(of_train)
    return Profile(
        name,
        kind,
        missing,
        {"quantiles": dict(zip(map("{:g}".format, QUANTILES), _told(kind, _quantiles(of_all)), strict=False))},
        {"missing": missing_in_train, "edges": _told(kind, edges, unit="us"), "counts": binned},
        len(np.unique(of_train)) < 2,
    )


def _present(values: Any, absent: NDArray[np.bool_], rows: Sequence[int]) -> NDArray[Any]:
    chosen = np.asarray(rows, np.int64)
    present: NDArray[Any] = as_numpy(values)[chosen[~absent[chosen]]]
    return present


def _top(counts: Counter[str], most: int) -> dict[str, Any]:
    """The most frequent values, and how often the others occur together."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"values": dict(ordered[:most]), "others": sum(count for _, count in ordered[most:])}


def _quantiles(values: NDArray[Any]) -> NDArray[Any]:
    ordered = np.sort(values)
    return ordered[[int(share * (len(ordered) - 1)) for share in QUANTILES]] if len(ordered) else ordered


def histogram(values: NDArray[Any]) -> tuple[NDArray[np.float64], list[int]]:
    """Edges and counts of bins of one width between the 1st and the 99th percentile.

    The first and the last bin hold whatever lies beyond, so that a few far values do not leave all others in one bin.
    """
    if not len(values):
        return np.array([0.0, 1.0]), [0]
    ordered = np.sort(values).astype(np.float64)
    low, high = ordered[int(0.01 * (len(ordered) - 1))], ordered[int(0.99 * (len(ordered) - 1))]
    if low == high:
        low, high = ordered[0], ordered[-1]
    edges = np.linspace(low, high, BINS + 1) if low < high else np.array([low, high])
    counts, _ = np.histogram(np.clip(ordered, low, high), edges)
    return edges, counts.tolist()


def _told(kind: str, values: NDArray[Any], unit: Literal["s", "us"] = "s") -> list[float] | list[str]:
    """Numbers as they are, points in time as ISO 8601."""
    if kind != "datetime":
        return [float(value) for value in values]
    return [str(value) for value in np.datetime_as_string(values.astype("datetime64[us]"), unit=unit)]
