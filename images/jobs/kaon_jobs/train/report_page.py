"""report.html of a trained model: figures, confusion matrix, table by class, curves. Pure: figures in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaon.api.evaluation import Evaluation
from kaon.api.trainingrun import Recipe
from kaon_jobs import html
from kaon_jobs.evaluate.quality import Quality

MATRIX_CLASSES = 40
"""A larger confusion matrix is nothing that a person reads."""


def report_page(
    title: str,
    evaluation: Evaluation,
    found: Quality,
    labels: Sequence[str],
    recipe: Recipe | None = None,
    log_history: Sequence[dict[str, Any]] = (),
    facts: Sequence[tuple[str, object]] = (),
) -> str:
    """The page of one evaluated model; without a recipe there are no curves."""
    latency = evaluation.latency_ms
    figures: list[tuple[str, object]] = [
        ("accuracy", evaluation.accuracy),
        ("macro-F1", evaluation.macro_f1),
        ("F1, weighted", evaluation.f1),
        ("precision, weighted", evaluation.precision),
        ("recall, weighted", evaluation.recall),
        ("expected calibration error", evaluation.ece),
        ("latency p50 / p99, ms", f"{latency.p50} / {latency.p99}" if latency else "not measured"),
        ("texts a second", evaluation.throughput_per_second),
        ("peak memory, bytes", evaluation.peak_memory_bytes),
        ("size for serving, bytes", evaluation.size_bytes),
        ("measured on", f"{evaluation.device}, {evaluation.isa}"),
    ]
    sections = [
        (f"On {evaluation.rows:,} rows of the {evaluation.split} split", html.table(("figure", "value"), figures)),
        (
            "By class",
            html.table(
                ("class", "precision", "recall", "F1", "rows"),
                [(one.label, one.precision, one.recall, one.f1, one.support) for one in evaluation.per_class],
            ),
        ),
    ]
    if len(labels) <= MATRIX_CLASSES:
        sections.append(("Confusion", html.matrix(labels, found.confusion.tolist())))
    if recipe is not None:
        sections.append(
            ("Loss", html.lines([("training", _curve(log_history, "loss")), *_validation(log_history)], "steps"))
        )
        quality = [
            (name, _curve(log_history, key))
            for name, key in (("accuracy", "eval_accuracy"), ("macro-F1", "eval_macroF1"))
        ]
        sections.append(("Validation", html.lines(quality, "steps")))
        sections.append(("Recipe", html.table(("field", "value"), [(k, str(v)) for k, v in recipe.wire().items()])))
    if facts:
        sections.append(
            ("Where it comes from", html.table(("fact", "value"), [(name, str(value)) for name, value in facts]))
        )
    return html.page(title, sections)


def _curve(log_history: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(float(entry["step"]), float(entry[key])) for entry in log_history if key in entry]


def _validation(log_history: Sequence[dict[str, Any]]) -> list[tuple[str, list[tuple[float, float]]]]:
    curve = _curve(log_history, "eval_loss")
    return [("validation", curve)] if curve else []
