"""How soon Kaon says that a budget cannot be met, beside its whole search for one that can be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import kaon_auto

_QUALITY = {"maxAccuracyDrop": 0.01, "maxMacroF1Drop": 0.02}
BUDGETS: Mapping[str, Mapping[str, float]] = {
    "1000 times smaller": {**_QUALITY, "minSizeRatio": 1000},
    "100 times faster": {**_QUALITY, "minSpeedup": 100},
    "20 times smaller, nothing lost": {"maxAccuracyDrop": 0, "maxMacroF1Drop": 0, "minSizeRatio": 20},
}


def lines(trained: kaon_auto.Trained, limits: Mapping[str, int], threads: int, full: float, out: Path) -> Iterator[str]:
    """A Markdown table, line by line: each budget is given to the whole stage. `full`: seconds of the full search."""
    yield f"| budget | verdict | after | of the full search's {full:.0f} s | message |\n|---|---|---|---|---|"
    for name, budget in BUDGETS.items():
        place = out / name.replace(" ", "-")
        place.mkdir(parents=True)
        began = time.monotonic()
        result = kaon_auto.stage(trained, budget, limits, threads, place)
        seconds = time.monotonic() - began
        found = result.compression
        assert found is not None
        yield f"| {name} | {found.verdict} | {seconds:.0f} s | {seconds / full:.0%} | {found.message} |"
