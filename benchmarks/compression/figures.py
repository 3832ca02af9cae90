"""The benchmark's table: what was made, what was measured of it, what it means for the budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scores import Budget, Quality, kept

BASELINE = "fp32, onnxruntime"
"""What every ratio is relative to."""
REFERENCE = "fp32, OpenVINO"
"""Not a contender: tells how much of a time on OpenVINO is the runtime's doing."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the judge measured of one model; `faster` is relative to the fp32 baseline in the same rounds."""

    size_bytes: int
    p50_ms: float
    faster: float
    faster_low: float
    faster_high: float
    accuracy: float
    macro_f1: float

    @property
    def quality(self) -> Quality:
        """As the budget is held against it."""
        return Quality(self.accuracy, self.macro_f1)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All of one case, by name: figures, or why what was made does not run."""

    found: Mapping[str, Found]
    failed: Mapping[str, str]

    @property
    def baseline(self) -> Found:
        """What every ratio is relative to."""
        return self.found[BASELINE]


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender: its search, and its model where there is one."""

    seconds: float
    software: str
    did: str | None = None
    failure: str | None = None
    found: Found | None = None


def read_judgement(document: Mapping[str, Any]) -> Judgement:
    """The judge's JSON."""
    return Judgement({name: Found(**one) for name, one in document["found"].items()}, document["failed"])


def markdown(budget: Budget, judged: Judgement, entries: Mapping[str, Entry]) -> str:
    """The table and, below it, what each contender did or why it has no figures."""
    lines = [
        "| model | MB | smaller | p50 ms | faster (95 %) | accuracy | macro-F1 | keeps the budget | search |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_line(name, judged.baseline, judged.found[name], "–", "–") for name in (BASELINE, REFERENCE)),
    ]
    notes = []
    for name, entry in entries.items():
        notes.append(f"- {name} ({entry.software or 'left no result'}): {entry.failure or entry.did}")
        if entry.found is None:
            lines.append(f"| {name} | – | – | – | – | – | – | no model | {entry.seconds:.0f} s |")
            continue
        holds = "yes" if kept(budget, judged.baseline.quality, entry.found.quality) else "**no**"
        lines.append(_line(name, judged.baseline, entry.found, holds, f"{entry.seconds:.0f} s"))
    return "\n".join([*lines, "", *notes])


def standing(budget: Budget, judged: Judgement, entries: Mapping[str, Entry], own: str) -> str:
    """In a sentence: who keeps the budget and is smaller or faster than `own`."""
    better = ahead(budget, judged, entries, own)
    if not better:
        return f"No other model that keeps the budget is smaller or faster than that of {own}."
    listed = "; ".join(f"{name} ({' and '.join(how)})" for name, how in better.items())
    return f"Ahead of {own} inside the budget: {listed}."


def ahead(budget: Budget, judged: Judgement, entries: Mapping[str, Entry], own: str) -> dict[str, list[str]]:
    """Contenders that keep the budget and are smaller or faster than `own`, and in what.

    Where `own` has no model that keeps the budget, it stands where the baseline stands: that is what would be served.
    """
    valid = {
        name: entry.found
        for name, entry in entries.items()
        if entry.found is not None and kept(budget, judged.baseline.quality, entry.found.quality)
    }
    mine = valid.pop(own, judged.baseline)
    found = {}
    for name, one in valid.items():
        how = ["smaller"] * (one.size_bytes < mine.size_bytes) + ["faster"] * (one.faster > mine.faster)
        if how:
            found[name] = how
    return found


def _line(name: str, baseline: Found, found: Found, holds: str, search: str) -> str:
    cells = [
        name,
        f"{found.size_bytes / 1e6:.2f}",
        f"{baseline.size_bytes / found.size_bytes:.2f}×",
        f"{found.p50_ms:.3f}",
        f"{found.faster:.2f}× ({found.faster_low:.2f}–{found.faster_high:.2f})",
        f"{100 * found.accuracy:.2f}",
        f"{100 * found.macro_f1:.2f}",
        holds,
        search,
    ]
    return f"| {' | '.join(cells)} |"
