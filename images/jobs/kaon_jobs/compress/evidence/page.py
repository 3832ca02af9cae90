"""report.html of a compression: the verdict on top, then what it rests on. Pure: evidence in, text out."""

from __future__ import annotations

from html import escape

from kaon.api.compressionjob import Interval
from kaon.tasks.base import Metric
from kaon.tasks.registry import METRICS
from kaon_jobs.compress.evidence.charts import front_chart, interval_lines, step_bars
from kaon_jobs.compress.evidence.document import CandidateEvidence, DecisionEvidence, Evidence
from kaon_jobs.compress.statistics.fields import metric_of
from kaon_jobs.compress.verdict.naming import four_decimals
from kaon_jobs.report import html


def page(evidence: Evidence) -> str:
    """The whole document, self-contained."""
    final = evidence.final
    sections = [("Verdict: " + evidence.verdict, html.paragraph(evidence.message) + _budget(evidence))]
    if evidence.decisions:
        sections.append((f"What the {evidence.baseline.rows:,} test rows show", _decisions(evidence)))
    if evidence.attribution:
        sections.append(("What each step bought and cost", _steps(evidence)))
    sections.append(("Size and time of every candidate", front_chart(evidence)))
    sections.append(("Candidates", _candidates(evidence)))
    if final is not None:
        rows = f" ({final.rows:,} rows)" if final.rows is not None else ""
        sections.append((f"The chosen one on the test split{rows}", _final(evidence, final)))
        if final.classes:
            sections.append(("Recall by class, on the test split", _classes(evidence, final)))
    if evidence.sensitivity:
        table = [(", ".join(item.nodes), item.divergence) for item in evidence.sensitivity]
        sections.append(("What suffers most under INT8", html.table(("nodes", "divergence"), table)))
    facts = [
        ("model (teacher)", evidence.model_digest),
        ("dataset", evidence.dataset_digest),
        ("measured with", f"{evidence.threads} threads, batch 1, {evidence.isa}"),
        ("seed", evidence.seed),
        ("the search ended because", evidence.search_ended),
        ("at its smallest it has", f"{_in_mb(evidence.smallest_bytes)} MB"),
    ]
    sections.append(
        ("How it was measured", html.table(("fact", "value"), facts) + html.paragraph(_method(evidence), note=True))
    )
    return html.page("Compression report", sections)


_LIMITS = {
    "class": "limits of drops come from the rows on which they differ: they are those of a Bayesian bootstrap within "
    "each class with one more row lost where that harms most. For a single class this is the exact limit of Clopper "
    "and Pearson, for a budget of 0 the exact test of McNemar.",
    "number": "limits of rises come from both errors of each row: they are those of a Bayesian bootstrap over rows "
    "with one more row on which the candidate loses as much as on the worst row seen, and no less than a model that "
    "always says the mean errs.",
    "items": "limits of drops come from both values of each user: they are those of a Bayesian bootstrap over users "
    "with one more user who loses as much as the best served one has.",
}


def _method(evidence: Evidence) -> str:
    return (
        "Candidates are chosen on the validation split, by how likely they are to pass; the chosen one is judged once "
        "on the test split. Both models answer the same rows, and "
        f"{_LIMITS[evidence.predicts]} The baseline and a candidate are timed in turns in one process on the same "
        "rows, from what a client sends to the answer; intervals of times and speed-ups are 95 % and come from a "
        "bootstrap over blocks of rounds. Peak memory is that of fresh processes. A figure that is missing breaks its "
        "budget."
    )


def _budget(evidence: Evidence) -> str:
    rows = [(name, str(value)) for name, value in evidence.budget.wire().items()]
    broken = evidence.final.violations if evidence.final else []
    listed = "".join(f"<li>{escape(sentence)}</li>" for sentence in broken)
    return html.table(("budget", "limit"), rows) + (f"<ul>{listed}</ul>" if listed else "")


def _decisions(evidence: Evidence) -> str:
    confidence = f"{100 * evidence.budget.confidence:.3g} %"
    rows = [
        (
            _what(item),
            f"{item.bound:g}",
            *(("no rows", "", "") if item.drop is None else _three(item.drop)),
            f"{item.certainty:.1%}",
            item.finding.value,
            _doubt(item),
        )
        for item in evidence.decisions
    ]
    header = (
        "loss of", "at most", "measured", "for sure above", "for sure below", "surely kept", "it is", "because",
    )  # fmt: skip
    lines = [(_what(item), item.drop, item.bound) for item in evidence.decisions if item.drop is not None]
    note = (
        f"For sure: with {confidence} confidence, each by itself. A budget is kept when the true drop is for sure "
        "below its bound, broken when it is for sure above it, else undecided. Orange marks are the bounds."
    )
    return interval_lines(lines, "lost") + html.table(header, rows) + html.paragraph(note, note=True)


def _what(item: DecisionEvidence) -> str:
    metric = metric_of(item.budget)
    return f"recall of {item.class_name}" if metric is None else METRICS[metric].title


def _compared(evidence: Evidence) -> list[Metric]:
    """The metrics of which a loss was measured, in the task's order."""
    named = {name for item in (*evidence.trials, *([evidence.final] if evidence.final else [])) for name in item.drops}
    return [metric for name, metric in METRICS.items() if name in named]


def _doubt(item: DecisionEvidence) -> str:
    if item.finding != "undecided":
        return ""
    if item.more_rows is not None:
        return f"{item.class_name or 'the split'} has {item.rows:,} rows; about {item.more_rows:,} more would decide"
    most = f"most of the doubt lies in {item.class_name} ({item.rows:,} rows); " if item.class_name else ""
    if item.more_rows_of_all is not None:
        of_all = " of all classes" if item.class_name else ""
        return f"{most}about {item.more_rows_of_all:,} more rows{of_all} would decide"
    return f"{most}it lies too close to its bound for any number of rows near"


def _steps(evidence: Evidence) -> str:
    final, steps, compared = evidence.final, evidence.attribution, _compared(evidence)
    then = final.baseline_latency_ms.p50 if final and final.baseline_latency_ms else None
    rows = [
        (
            item.name,
            _in_mb(item.size_bytes),
            _in_mb(item.saved_bytes, "+"),
            "" if item.p50_ms is None else f"{item.p50_ms:.{_decimals(item.p50_ms)}f}",
            "" if item.saved_ms is None else f"{item.saved_ms:+.{_decimals(item.saved_ms)}f}",
            *("" if (lost := item.lost.get(metric.name)) is None else f"{lost:+.4g}" for metric in compared),
        )
        for item in steps
    ]
    header = (
        *("step", "MB after it", "MB saved", "ms after it", "ms saved"),
        *(f"{metric.title} lost" for metric in compared),
    )
    note = "On the validation split, one step after the other. Steps that cannot be measured alone stand together."
    chart = step_bars(steps, evidence.baseline.size_bytes or 0, then)
    return chart + html.table(header, rows) + html.paragraph(note, note=True)


def _candidates(evidence: Evidence) -> str:
    rows, compared = [], _compared(evidence)
    for item in evidence.trials:
        if item.failure is not None:
            rows.append((item.name, "", "", "", *("" for _ in compared), "", "", f"failed: {item.failure}"))
            continue
        rows.append(
            (
                item.name,
                _in_mb(item.size_bytes or 0),
                f"{item.size_ratio:.2f}" if item.size_ratio else "",
                _shown(item.speedup, 2),
                *(_shown_loss(item.drops.get(metric.name)) for metric in compared),
                "" if item.chance is None else f"{item.chance:.0%}",
                f"{item.seconds:.0f} s{', earlier attempt' if item.reused else ''}" if item.seconds else "",
                "; ".join([str(item.standing), *item.violations]),
            )
        )
    header = (
        *("steps", "MB", "times smaller", "times faster", *(metric.loss_title for metric in compared)),
        *("likely to keep", "took", "on validation"),
    )
    pooled = "; classes with few rows are thought to be like the others until their rows say otherwise"
    note = (
        "Figures of the validation split. Likely to keep: the chance that the true drops keep the budget"
        f"{pooled if evidence.predicts == 'class' else ''}. With `strategy: steps` each line adds one step."
    )
    return html.table(header, rows) + html.paragraph(note, note=True)


def _final(evidence: Evidence, final: CandidateEvidence) -> str:
    old, new = evidence.baseline, evidence.evaluation
    before, after = evidence.baseline_speed, evidence.final_speed
    rows = [
        *(
            (
                METRICS[name].title if name in METRICS else name,
                _figure(old.value(name)),
                _figure(new.value(name) if new else None),
                _shown_loss(final.drops.get(name)),
            )
            for name in old.metrics
        ),
        *(_of_classes(final) if final.classes else ()),
        (
            "size, MB",
            _in_mb(old.size_bytes or 0),
            _in_mb(final.size_bytes or 0),
            f"{final.size_ratio:.2f} times smaller" if final.size_ratio else "",
        ),
    ]
    if before is not None and after is not None:
        faster = f"{_shown(final.speedup, 2)} times faster"
        rows += [
            ("p50, ms", _shown_time(before.p50_ms), _shown_time(after.p50_ms), faster),
            ("p99, ms", _shown_time(before.p99_ms), _shown_time(after.p99_ms), ""),
            (
                "rows a second, batches of 32",
                _shown(before.throughput_per_second, 0),
                _shown(after.throughput_per_second, 0),
                "",
            ),
            (
                "peak memory, MB",
                _shown(_times(before.peak_memory_bytes, 1e-6), 0),
                _shown(_times(after.peak_memory_bytes, 1e-6), 0),
                "",
            ),
        ]
    return html.table(("figure", "before", "after", "change"), rows)


def _of_classes(final: CandidateEvidence) -> list[tuple[str, str, str, str]]:
    changed = f"{final.flip_rate:.2%}" if final.flip_rate is not None else ""
    return [
        ("largest recall drop of a class", "", "", _figure(final.class_recall_drop)),
        ("rows whose class changed", "", "", changed),
    ]


def _classes(evidence: Evidence, final: CandidateEvidence) -> str:
    classes = sorted(final.classes, key=lambda one: -(one.drop.value if one.drop is not None else 2.0))
    rows = [
        (
            item.label,
            item.rows,
            _or_dash(item.baseline_recall),
            _or_dash(item.recall),
            "no rows" if item.drop is None else _shown(item.drop, 4),
        )
        for item in classes
    ]
    bound = evidence.budget.max_class_recall_drop
    lines = [(f"{item.label} ({item.rows:,})", item.drop, bound) for item in classes[:40] if item.drop is not None]
    chart = interval_lines(lines, "recall lost") if lines else ""
    return chart + html.table(("class", "rows", "recall before", "recall after", "drop"), rows)


def _three(interval: Interval) -> tuple[str, str, str]:
    return four_decimals(interval.value), four_decimals(interval.low), four_decimals(interval.high)


def _shown_loss(interval: Interval | None) -> str:
    if interval is None:
        return "not measured"
    value, low, high = _three(interval)
    return f"{value} ({low} to {high})"


def _shown(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return "not measured"
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _shown_time(interval: Interval) -> str:
    return _shown(interval, _decimals(interval.value))


def _decimals(value: float) -> int:
    """Two, and more for what is small beside them."""
    return 2 if abs(value) >= 0.1 else 4


def _in_mb(size_bytes: int, sign: str = "") -> str:
    return f"{size_bytes / 1e6:{sign}.{_decimals(size_bytes / 1e6)}f}"


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(value=factor * interval.value, low=factor * interval.low, high=factor * interval.high)


def _figure(value: float | None) -> str:
    return "not measured" if value is None else four_decimals(value)


def _or_dash(value: float | None) -> str:
    return "no rows" if value is None else f"{value:.4f}"
