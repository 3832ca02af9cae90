"""The charts of a compression's report, as inline SVG. Pure: evidence in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from kaon.api.compressionjob import Interval
from kaon_jobs.compress.evidence.document import CandidateEvidence, Evidence, StepEvidence
from kaon_jobs.report import html

WIDTH, HEIGHT = 660, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 16, 40
_NAMES = 210
"""Width that names stand in, left of bars and intervals."""


def front_chart(evidence: Evidence) -> str:
    """Candidates by size and time, baseline = 1, with the front and the budget's lines; hollow: breaks its budget."""
    shown = [item for item in evidence.trials if item.speedup is not None and item.size_bytes]
    if not shown:
        return html.paragraph("no candidate could be measured", note=True)
    baseline_mb = (evidence.baseline.size_bytes or 0) / 1e6
    x_top = 1.1 * max([baseline_mb, *((item.size_bytes or 0) / 1e6 for item in shown)])
    y_top = 1.15 * max([1.0, *(1 / item.speedup.value for item in shown if item.speedup)])

    def at(mb: float, time: float) -> tuple[float, float]:
        return (
            _LEFT + (WIDTH - _LEFT - _RIGHT) * mb / x_top,
            HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * time / y_top,
        )

    left, bottom = at(0, 0)
    right, top = at(x_top, y_top)
    parts = [
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="var(--line)"/>',
        f'<text x="{right}" y="{bottom + 30}" text-anchor="end">size, MB (0 to {_top(x_top)})</text>',
        f'<text x="{left + 4}" y="{top + 10}">time of one prediction, baseline = 1 (0 to {y_top:.1f})</text>',
    ]
    limit_mb = _size_limit(evidence)
    if limit_mb is not None and limit_mb <= x_top:
        x, _ = at(limit_mb, 0)
        parts.append(
            f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="var(--two)" stroke-dasharray="5 4"/>'
        )
        parts.append(f'<text x="{x + 3:.1f}" y="{bottom - 5}">size budget</text>')
    if evidence.budget.min_speedup is not None:
        _, y = at(0, 1 / evidence.budget.min_speedup)
        parts.append(
            f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="var(--two)" stroke-dasharray="5 4"/>'
        )
        parts.append(f'<text x="{right}" y="{y - 4:.1f}" text-anchor="end">speed budget</text>')
    # What nothing beats in both: smaller costs time from one step of this line to the next.
    on_front = [
        at((item.size_bytes or 0) / 1e6, 1 / item.speedup.value) for item in _on_front(evidence, shown) if item.speedup
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in on_front)
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--bar)" stroke-opacity=".4" stroke-width="2"/>')
    points = [("baseline", baseline_mb, 1.0, True)]
    points += [
        (item.name, (item.size_bytes or 0) / 1e6, 1 / item.speedup.value, not item.violations)
        for item in shown
        if item.speedup
    ]
    taken: list[float] = []
    # From the top down, so that labels that give way to each other stay in order.
    for name, mb, time, kept in sorted(points, key=lambda point: -point[2]):
        x, y = at(mb, time)
        colour = "var(--two)" if name == "baseline" else "var(--bar)"
        chosen = evidence.final if evidence.final is not None and evidence.final.name == name else None
        fill = colour if kept and not (chosen and chosen.violations) else "none"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if chosen else 5}" fill="{fill}" stroke="{colour}" '
            'stroke-width="2">'
            f"<title>{escape(name)}: {mb:.3g} MB, {time:.2f}</title></circle>"
        )
        # Labels of points that lie close together would cover each other.
        label = y + 4
        while any(abs(label - other) < 12 for other in taken):
            label += 12
        taken.append(label)
        end = x > WIDTH / 2
        parts.append(
            f'<text x="{x - 10 if end else x + 10:.1f}" y="{label:.1f}" text-anchor="{"end" if end else "start"}">'
            f"{escape(name[:60])}{' (chosen)' if chosen else ''}</text>"
        )
    return _svg(HEIGHT, parts)


def _top(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _on_front(evidence: Evidence, shown: Sequence[CandidateEvidence]) -> list[CandidateEvidence]:
    by_name = {item.name: item for item in shown}
    return [by_name[name] for name in evidence.front if name in by_name]


def _size_limit(evidence: Evidence) -> float | None:
    budget, baseline = evidence.budget, evidence.baseline.size_bytes
    limits = [float(budget.max_size_bytes)] if budget.max_size_bytes else []
    if budget.min_size_ratio and baseline:
        limits.append(baseline / budget.min_size_ratio)
    return min(limits) / 1e6 if limits else None


def step_bars(steps: Sequence[StepEvidence], baseline_bytes: int, baseline_ms: float | None) -> str:
    """What is left after each step, of the bytes and of the milliseconds, baseline = full width."""
    lines = [("baseline", 1.0, 1.0 if baseline_ms else None)]
    for item in steps:
        time = item.p50_ms / baseline_ms if item.p50_ms is not None and baseline_ms else None
        lines.append((f"+ {item.name}", item.size_bytes / max(1, baseline_bytes), time))
    top = max(1.0, *(max(size, time or 0.0) for _, size, time in lines))
    parts = [
        f'<text x="{_NAMES}" y="12" style="fill:var(--bar)">size</text>',
        f'<text x="{_NAMES + 40}" y="12" style="fill:var(--two)">time of one prediction</text>',
    ]
    room = WIDTH - _NAMES - 60
    for index, (name, size, time) in enumerate(lines):
        y = 20 + 34 * index
        parts.append(f'<text x="{_NAMES - 6}" y="{y + 17}" text-anchor="end">{escape(name[:34])}</text>')
        for offset, share, colour in ((0, size, "var(--bar)"), (14, time, "var(--two)")):
            if share is not None:
                width = room * share / top
                parts.append(f'<rect x="{_NAMES}" y="{y + offset}" width="{width:.1f}" height="12" fill="{colour}"/>')
                parts.append(f'<text x="{_NAMES + width + 4:.1f}" y="{y + offset + 10}">{share:.1%}</text>')
    return _svg(24 + 34 * len(lines), parts)


def interval_lines(lines: Sequence[tuple[str, Interval, float | None]], unit: str) -> str:
    """Named intervals on one scale that starts where 0 is in view; a mark where the bound of each lies."""
    ends = [value for _, found, bound in lines for value in (found.low, found.high, bound or 0.0)]
    low, high = min(0.0, *ends), max(1e-6, *ends)

    def at(value: float) -> float:
        return _NAMES + (WIDTH - _NAMES - 70) * (value - low) / (high - low)

    bottom = 8 + 20 * len(lines)
    parts = [f'<line x1="{at(0):.1f}" y1="4" x2="{at(0):.1f}" y2="{bottom}" stroke="var(--line)"/>']
    for index, (name, found, bound) in enumerate(lines):
        y = 16 + 20 * index
        parts.append(f'<text x="{_NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(name[:28])}</text>')
        parts.append(
            f'<line x1="{at(found.low):.1f}" y1="{y}" x2="{at(found.high):.1f}" y2="{y}" stroke="var(--bar)" '
            'stroke-width="3" stroke-opacity=".5"/>'
        )
        parts.append(
            f'<circle cx="{at(found.value):.1f}" cy="{y}" r="4" fill="var(--bar)">'
            f"<title>{escape(name)}: {found.value:.4g} ({found.low:.4g} to {found.high:.4g})</title></circle>"
        )
        if bound is not None:
            x = at(bound)
            parts.append(
                f'<line x1="{x:.1f}" y1="{y - 8}" x2="{x:.1f}" y2="{y + 8}" stroke="var(--two)" stroke-width="2"/>'
            )
    parts.append(f'<text x="{at(0):.1f}" y="{bottom + 13}" text-anchor="middle">0</text>')
    if at(0) - at(low) > 60:
        parts.append(f'<text x="{at(low):.1f}" y="{bottom + 13}" text-anchor="middle">{low:.3g}</text>')
    parts.append(f'<text x="{at(high):.1f}" y="{bottom + 13}" text-anchor="middle">{high:.3g} {escape(unit)}</text>')
    return _svg(bottom + 18, parts)


def _svg(height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">{"".join(parts)}</svg>'
