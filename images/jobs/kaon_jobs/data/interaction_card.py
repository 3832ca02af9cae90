"""The data card of interactions: users, items, how dense and how popular, how they were divided. Pure: text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.dataset import DataQuality
from kaon.contract.digest import canonical_json
from kaon_jobs.data.card import quantiles, reading_section, source_card, sources_section
from kaon_jobs.data.interactions import Divided, Interactions, Removed
from kaon_jobs.data.profile import BASELINE_VALUES, histogram
from kaon_jobs.data.read import ReadSource
from kaon_jobs.data.rows import Table, shortened
from kaon_jobs.report import html

EXAMPLES = 10
TOP_ITEMS = 20
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of the items, the most frequent ones, of which the card tells the share of all training interactions."""
CURVE_POINTS = 60
_BY = {
    "time": "by time: all users share the points in time at which the splits begin",
    "user": "the last interactions of each user are held out, so that a model knows what others did later",
    "random": "by a seeded draw from the interactions of each user",
    None: "the test split is that of the sources",
}
_REASONS = {
    "missing": "no user, item, time or rating",
    "lowRating": "a rating below spec.clean.minRating",
    "duplicates": "repeats a user and an item; the last one stays",
    "leaked": "its user and item are in a source of the test split",
    "few": "a user or an item with fewer than spec.clean.minPerUser or minPerItem",
}


@dataclass(frozen=True)
class InteractionCard:
    """Everything the card tells of."""

    task: str
    table: Table
    sources: Sequence[ReadSource]
    found: Interactions
    removed: Removed
    divided: Divided
    quality: DataQuality
    seed: int

    @cached_property
    def _removed(self) -> dict[str, NDArray[np.int64]]:
        gone = self.removed
        return dict(zip(_REASONS, (gone.missing, gone.low, gone.duplicates, gone.leaked, gone.few), strict=True))

    @cached_property
    def _per_user(self) -> NDArray[np.int64]:
        counts = np.bincount(self.found.user, minlength=len(self.found.users))
        return np.sort(counts[counts > 0])

    @cached_property
    def _density(self) -> float:
        items = len(np.unique(self.found.item))
        return len(self.found) / (len(self._per_user) * items)

    def _popularity(self) -> dict[str, float]:
        counts = self.divided.counts
        total, ends = counts.sum(), [max(1, round(share * len(counts))) for share in SHARES]
        return {
            f"{share:g}": round(float(counts[:end].sum() / total), 6) for share, end in zip(SHARES, ends, strict=True)
        }

    def json(self) -> bytes:
        """For programs. `baseline` is what live traffic is compared with for drift."""
        divided, counts = self.divided, self.divided.counts
        edges, binned = self._lengths()
        asked = {
            split: {
                "users": len(one.user),
                "historyLength": quantiles([len(history) for history in one.histories]),
                **({} if split == "train" else {"itemsAskedFor": quantiles([len(wanted) for wanted in one.targets])}),
            }
            for split, one in divided.asked.items()
        }
        top = dict(zip(divided.items[:BASELINE_VALUES], counts[:BASELINE_VALUES].tolist(), strict=True))
        value: dict[str, Any] = {
            "task": self.task,
            "rows": dict(divided.interactions),
            "sources": [source_card(source) for source in self.sources],
            "quality": self.quality.wire(),
            "removed": {
                name: {"rows": len(rows), "first": [self.table.place(int(row)) for row in rows[:EXAMPLES]]}
                for name, rows in self._removed.items()
            },
            "seed": self.seed,
            "split": {"by": divided.by or "source", "cuts": divided.cuts},
            "users": len(self._per_user),
            "items": len(divided.items),
            "itemsWithText": sum(text is not None for text in divided.texts),
            "density": float(f"{self._density:.6g}"),
            "perUser": quantiles(self._per_user),
            "perItem": quantiles(counts),
            "popularity": self._popularity(),
            "asked": asked,
            "unknownItems": divided.unknown,
            "usersNotAsked": divided.silent,
            "baseline": {
                "items": {"values": top, "others": int(counts[BASELINE_VALUES:].sum())},
                "historyLength": {"edges": edges, "counts": binned},
            },
        }
        return canonical_json(value)

    def html(self) -> str:
        """For people."""
        divided, found, quality = self.divided, self.found, self.quality
        rows = []
        for split, one in divided.asked.items():
            lengths = [len(history) for history in one.histories]
            targets = 0 if split == "train" else sum(map(len, one.targets))
            middle = float(np.median(lengths)) if lengths else 0
            rows.append((split, divided.interactions[split], len(one.user), middle, targets, self._begins(split)))
        removed = [
            (_REASONS[name], len(gone), "; ".join(self.table.place(int(row)) for row in gone[:3]))
            for name, gone in self._removed.items()
        ]
        figures = [
            ("users", len(self._per_user)),
            ("items that models know, those of the training split", len(divided.items)),
            ("of these with a text", sum(text is not None for text in divided.texts)),
            ("interactions", len(found)),
            ("density: interactions of all pairs of a user and an item", f"{self._density:.4%}"),
            *(
                (f"training interactions with the most frequent {float(share):.0%} of the items", f"{part:.1%}")
                for share, part in self._popularity().items()
            ),
        ]
        findings = [
            ("interactions of validation and test with an item that no training row has, left out", divided.unknown),
            (
                "users of validation and test of whom nothing is known or nothing is to be found, not asked",
                divided.silent,
            ),
        ]
        names = [(shortened(name, 24), int(count)) for name, count in zip(divided.items, divided.counts, strict=True)]
        header = ("split", "interactions", "users asked", "median history", "items asked for", "begins")
        note = f"{quality.rows_read:,} rows were read. Split {_BY[divided.by]}; the seed is {self.seed}."
        sections = [
            ("Interactions", html.table(header, rows) + html.paragraph(note, note=True)),
            ("Users and items", html.table(("figure", "value"), figures)),
            ("What cleaning removed, and why", html.table(("reason", "rows", "first of them"), removed)),
            reading_section(self.sources, quality),
            ("Worth a look", html.table(("finding", "count"), findings)),
            ("Interactions of a user", html.histogram(*_drawn(self._per_user), "interactions")),
            ("Share of interactions by share of the items, the most frequent first", html.lines(self._curve(), "%")),
            ("The most frequent items", html.bars(names[:TOP_ITEMS])),
            sources_section(self.sources),
        ]
        return html.page("Data card", sections)

    def _begins(self, split: str) -> str:
        cut = self.divided.cuts.get(split)
        if cut is None:
            return ""
        try:
            # Seconds since 1970 is what most numbers mean that are so large.
            moment = datetime.fromtimestamp(cut, UTC).isoformat() if cut > 1e8 else ""
        except (ValueError, OverflowError):
            moment = ""
        return f"{cut:.10g}" + (f" ({moment})" if moment else "")

    def _curve(self) -> list[tuple[str, list[tuple[float, float]]]]:
        summed = np.cumsum(self.divided.counts) / self.divided.counts.sum()
        places = np.unique(np.linspace(0, len(summed) - 1, CURVE_POINTS).round().astype(int))
        points = [(100 * (place + 1) / len(summed), float(summed[place])) for place in places]
        return [("share", [(0.0, 0.0), *points])]

    def _lengths(self) -> tuple[list[float], list[int]]:
        edges, counts = histogram(np.asarray([len(one) for one in self.divided.asked["train"].histories], np.float64))
        return edges.tolist(), counts


def _drawn(counts: NDArray[np.int64]) -> tuple[list[float], list[int]]:
    edges, binned = histogram(counts.astype(np.float64))
    return [round(float(edge), 1) for edge in edges], binned
