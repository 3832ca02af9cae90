"""report.html of a compression: the verdict on top, then what it rests on. Pure: evidence in, text out."""

from __future__ import annotations

from html import escape

from kaon.api.compressionjob import Interval
from kaon_jobs import html
from kaon_jobs.compress.evidence import CandidateEvidence, Evidence

WIDTH, HEIGHT = 660, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 16, 40


def page(evidence: Evidence) -> str:
    """The whole document, self-contained."""
    final = evidence.final
    sections = [
        ("Verdict: " + evidence.verdict, html.paragraph(evidence.message) + _budget(evidence)),
        ("Size and time of every candidate", front_chart(evidence)),
        ("Candidates", _candidates(evidence)),
    ]
    if final is not None:
        sections.append((f"The chosen one on the test split ({final.rows:,} rows)", _final(evidence, final)))
        sections.append(("Recall by class, on the test split", _classes(final)))
    if evidence.sensitivity:
        rows = [(", ".join(item.nodes), item.divergence) for item in evidence.sensitivity]
        sections.append(("What suffers most under INT8", html.table(("nodes", "divergence"), rows)))
    facts = [
        ("model", evidence.model_digest),
        ("dataset", evidence.dataset_digest),
        ("measured with", f"{evidence.threads} threads, batch 1, {evidence.isa}"),
        ("seed", evidence.seed),
        ("the search ended because", evidence.search_ended),
        ("no technique here stores it in less than", f"{evidence.smallest_bytes / 1e6:.2f} MB"),
    ]
    sections.append(("How it was measured", html.table(("fact", "value"), facts) + html.paragraph(_METHOD, note=True)))
    return html.page("Compression report", sections)


_METHOD = (
    "Candidates are chosen on the validation split; the chosen one is judged once on the test split. The baseline and "
    "a candidate are timed in turns in one process on the same texts, tokenizer included; intervals of speed-ups come "
    "from a bootstrap over blocks of rounds, those of drops from a paired bootstrap over rows. Peak memory is that of "
    "a fresh process. A figure that is missing breaks its budget."
)


def front_chart(evidence: Evidence) -> str:
    """Candidates by size and time, baseline = 1, with the budget's lines; hollow: breaks its budget."""
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
        f'<text x="{right}" y="{bottom + 30}" text-anchor="end">size, MB (0 to {x_top:.0f})</text>',
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
            f"<title>{escape(name)}: {mb:.1f} MB, {time:.2f}</title></circle>"
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
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">{"".join(parts)}</svg>'


def _size_limit(evidence: Evidence) -> float | None:
    budget, baseline = evidence.budget, evidence.baseline.size_bytes
    limits = [float(budget.max_size_bytes)] if budget.max_size_bytes else []
    if budget.min_size_ratio and baseline:
        limits.append(baseline / budget.min_size_ratio)
    return min(limits) / 1e6 if limits else None


def _budget(evidence: Evidence) -> str:
    rows = [(name, str(value)) for name, value in evidence.budget.wire().items()]
    broken = evidence.final.violations if evidence.final else []
    listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in broken)
    return html.table(("budget", "limit"), rows) + (f"<ul>{listed}</ul>" if listed else "")


def _candidates(evidence: Evidence) -> str:
    rows = []
    for item in evidence.trials:
        if item.failure is not None:
            rows.append((item.name, "", "", "", "", "", "", f"failed: {item.failure}"))
            continue
        rows.append(
            (
                item.name,
                f"{(item.size_bytes or 0) / 1e6:.2f}",
                f"{item.size_ratio:.2f}" if item.size_ratio else "",
                _shown(item.speedup, 2),
                _shown(item.accuracy_drop, 4),
                _shown(item.macro_f1_drop, 4),
                f"{item.seconds:.0f} s{', earlier attempt' if item.reused else ''}" if item.seconds else "",
                "; ".join([str(item.standing), *item.violations]),
            )
        )
    header = ("steps", "MB", "times smaller", "times faster", "accuracy drop", "macro-F1 drop", "took", "on validation")
    note = "Figures of the validation split, with 95 % intervals. With `strategy: steps` each line adds one step."
    return html.table(header, rows) + html.paragraph(note, note=True)


def _final(evidence: Evidence, final: CandidateEvidence) -> str:
    old, then, now = evidence.baseline, final.baseline_latency_ms, final.latency_ms
    rows = [
        ("accuracy drop", _shown(final.accuracy_drop, 4)),
        ("macro-F1 drop", _shown(final.macro_f1_drop, 4)),
        (
            "largest recall drop of a class",
            f"{final.class_recall_drop:.4f}" if final.class_recall_drop is not None else "",
        ),
        ("rows whose class changed", f"{final.flip_rate:.2%}" if final.flip_rate is not None else ""),
        ("size, MB", f"{(old.size_bytes or 0) / 1e6:.2f} to {(final.size_bytes or 0) / 1e6:.2f}"),
        ("times faster", _shown(final.speedup, 2)),
        ("p50, ms", f"{then.p50:.2f} to {now.p50:.2f}" if then and now else ""),
        ("p99, ms", f"{then.p99:.2f} to {now.p99:.2f}" if then and now else ""),
        ("peak memory, MB", f"{(old.peak_memory_bytes or 0) / 1e6:.0f} to {(final.peak_memory_bytes or 0) / 1e6:.0f}"),
    ]
    return html.table(("figure", "value"), rows)


def _classes(final: CandidateEvidence) -> str:
    rows = [
        (item.label, item.rows, _or_dash(item.baseline_recall), _or_dash(item.recall), _or_dash(item.drop))
        for item in sorted(final.classes, key=lambda one: -(one.drop if one.drop is not None else 2.0))
    ]
    return html.table(("class", "rows", "recall before", "recall after", "drop"), rows)


def _shown(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return "not measured"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _or_dash(value: float | None) -> str:
    return "no rows" if value is None else f"{value:.4f}"
