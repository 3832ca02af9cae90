"""How soon Kaon says that a budget cannot be met, beside its whole search for one that can be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import kaon_auto
from contract import Case


def budgets(case: Case) -> dict[str, dict[str, float]]:
    """By what they ask for."""
    quality = kaon_auto.quality(case)
    return {
        "1000 times smaller": {**quality, "minSizeRatio": 1000},
        "100 times faster": {**quality, "minSpeedup": 100},
        "20 times smaller, nothing lost": {**dict.fromkeys(quality, 0.0), "minSizeRatio": 20},
    }


def lines(case: Case, trained: kaon_auto.Trained, limits: Mapping[str, int], full: float, out: Path) -> Iterator[str]:
    """A Markdown table, line by line: each budget is given to the whole stage. `full`: seconds of the full search."""
    yield f"| budget | verdict | after | of the full search's {full:.0f} s | message |\n|---|---|---|---|---|"
    for name, budget in budgets(case).items():
        began = time.monotonic()
        result = kaon_auto.stage(case, trained, budget, limits, out / name.replace(" ", "-"))
        seconds = time.monotonic() - began
        found = result.compression
        assert found is not None
        yield f"| {name} | {found.verdict} | {seconds:.0f} s | {seconds / full:.0%} | {found.message} |"
