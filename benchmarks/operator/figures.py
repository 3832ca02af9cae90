"""From what was seen to figures and tables. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from simulation.observe import COMPLETE, CREATED, ENDED, JOB, JOB_COMPLETE, TOLD
from simulation.trial import Observed

Figures = dict[str, Any]
PERCENTILES = (50, 95, 99)


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50, p95 and p99, each a value that occurred (nearest rank), and the largest."""
    ordered = sorted(values)
    found = {f"p{percent}": ordered[math.ceil(percent / 100 * len(ordered)) - 1] for percent in PERCENTILES}
    return {name: round(value, 3) for name, value in {**found, "max": ordered[-1]}.items()}


def latencies(seen: Observed, reports: bool) -> Figures:
    """Throughput and latencies of a trial. `reports`: a result is told by a Report, not by the end of the pod."""
    runs = list(seen.runs.values())
    told = TOLD if reports else ENDED
    done = [max(run[COMPLETE], run[JOB_COMPLETE]) for run in runs]
    began = min(run[CREATED] for run in runs)
    return {
        "jobs_per_minute": round(60 * len(runs) / (max(done) - began), 1),
        "create_to_job": percentiles(run[JOB] - run[CREATED] for run in runs),
        "told_to_complete": percentiles(run[COMPLETE] - run[told] for run in runs),
        "ended_to_all_complete": percentiles(end - run[ENDED] for run, end in zip(runs, done, strict=True)),
        "create_to_complete": percentiles(run[COMPLETE] - run[CREATED] for run in runs),
        "create_to_all_complete": percentiles(end - run[CREATED] for run, end in zip(runs, done, strict=True)),
    }


ROWS = (
    ("jobs a minute", "jobs_per_minute", "{:,.0f}"),
    ("create → Job, s", "create_to_job", "{p50:.2f} / {p95:.2f} / {p99:.2f}"),
    ("result told → complete, s", "told_to_complete", "{p50:.2f} / {p95:.2f} / {p99:.2f}"),
    ("pod ended → all complete, s", "ended_to_all_complete", "{p50:.2f} / {p95:.2f} / {p99:.2f}"),
    ("create → complete, s", "create_to_complete", "{p50:.2f} / {p95:.2f} / {p99:.2f}"),
    ("create → all complete, s", "create_to_all_complete", "{p50:.2f} / {p95:.2f} / {p99:.2f}"),
    ("controllers: RSS peak, MB", "controllers_peak_mb", "{:.0f}"),
    ("controllers: CPU a run, ms", "controllers_cpu_ms_per_run", "{:.1f}"),
    ("API server: CPU, s", "apiserver_cpu_s", "{:.1f}"),
    ("API requests a run", "requests_per_run", "{:.1f}"),
)
"""(what, field, form) of the comparison's table. Three figures are p50 / p95 / p99."""
ABSENT = {"bare": {"create_to_job", "controllers_peak_mb", "controllers_cpu_ms_per_run"}}
"""What has no meaning for a side: a bare Job is the resource, and the user its controller."""


def table(runs: int, sides: dict[str, Figures]) -> str:
    """The sides of one size, side by side."""
    rows = [[f"N = {runs:,}", *sides]]
    for what, field, form in ROWS:
        cells = ["–" if field in ABSENT.get(side, ()) else _cell(form, found[field]) for side, found in sides.items()]
        rows.append([what, *cells])
    return aligned(rows)


def _cell(form: str, value: Any) -> str:
    return form.format(**value) if isinstance(value, dict) else form.format(value)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text: the first column to the left, all others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *rest = (cell.ljust(width) if not index else cell.rjust(width)
                        for index, (cell, width) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        lines.append("   ".join([first, *rest]).rstrip())
    return "\n".join(lines)
