"""report.html of a trained model. Pure: figures in, text out.

Figures and curves; of classes a table by class and the confusion matrix, of numbers what was predicted and its errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.evaluation import Evaluation
from kaon.api.metrics import MetricFigure
from kaon.api.trainingrun import Recipe
from kaon.tasks.registry import METRICS
from kaon_jobs.measure.evaluation import AnyQuality
from kaon_jobs.measure.quality import Quality
from kaon_jobs.measure.ranking import RankingQuality
from kaon_jobs.measure.regression import NumberQuality
from kaon_jobs.report import html

HISTOGRAM_BARS = 40
POPULAR = 0.1
"""Of the items, the most frequent ones, which are told apart."""
FIGURES = ("figure", "value, with its 95 % interval")
MATRIX_CLASSES = 40
"""A larger confusion matrix is nothing that a person reads."""


def report_page(
    title: str,
    evaluation: Evaluation,
    found: AnyQuality,
    labels: Sequence[str],
    recipe: Recipe | None = None,
    log_history: Sequence[dict[str, Any]] = (),
    facts: Sequence[tuple[str, object]] = (),
    mistakes: Sequence[tuple[str, str]] = (),
) -> str:
    """The page of one evaluated model; without a recipe there are no curves.

    Args:
        mistakes: of images, thumbnails of those that the model is wrong about, with what stands below each.
    """
    latency = evaluation.latency_ms
    figures: list[tuple[str, object]] = [
        *(
            (METRICS[name].title if name in METRICS else name, _figure(found))
            for name, found in evaluation.metrics.items()
        ),
        ("latency p50 / p99, ms", f"{latency.p50} / {latency.p99}" if latency else "not measured"),
        ("rows a second", evaluation.throughput_per_second),
        ("peak memory, bytes", evaluation.peak_memory_bytes),
        ("size for serving, bytes", evaluation.size_bytes),
        ("measured on", f"{evaluation.device}, {evaluation.isa}"),
    ]
    sections = [
        (
            f"On {evaluation.rows:,} rows of the {evaluation.split} split",
            html.table(FIGURES, figures),
        ),
    ]
    if isinstance(found, Quality):
        by_class = [(one.label, one.precision, one.recall, one.f1, one.support) for one in evaluation.per_class]
        sections.append(("By class", html.table(("class", "precision", "recall", "F1", "rows"), by_class)))
    if evaluation.baseline is not None:
        simple = evaluation.baseline
        both = [
            (METRICS[name].title if name in METRICS else name, _figure(evaluation.metrics[name]), _figure(one))
            for name, one in simple.metrics.items()
            if name in evaluation.metrics
        ]
        note = "Trained on the same rows. A model that is hardly better may not be worth its size."
        table = html.table(("figure", "this model", simple.name), both) + html.paragraph(note, note=True)
        sections.append(("Beside the baseline", table))
    if isinstance(found, NumberQuality):
        sections += _of_numbers(found)
    elif isinstance(found, RankingQuality):
        sections += of_rankings(found)
    elif len(labels) <= MATRIX_CLASSES:
        sections.append(("Confusion", html.matrix(labels, found.confusion.tolist())))
    if mistakes:
        sections.append(("Most confident mistakes", html.pictures(mistakes)))
    if recipe is not None:
        sections.append(
            ("Loss", html.lines([("training", _curve(log_history, "loss")), *_validation(log_history)], "steps"))
        )
        curves = [(metric.title, _curve(log_history, f"eval_{name}")) for name, metric in METRICS.items()]
        quality = [(title, curve) for title, curve in curves if curve]
        sections.append(("Validation", html.lines(quality, "steps")))
        sections.append(("Recipe", html.table(("field", "value"), [(k, str(v)) for k, v in recipe.wire().items()])))
    if facts:
        sections.append(
            ("Where it comes from", html.table(("fact", "value"), [(name, str(value)) for name, value in facts]))
        )
    return html.page(title, sections)


def _of_numbers(found: NumberQuality) -> list[tuple[str, str]]:
    errors = found.predictions - found.targets
    counts, edges = np.histogram(errors, HISTOGRAM_BARS)
    note = "Each cell is darker the more rows lie in it. On the line a prediction is right."
    return [
        (
            "Predicted against true",
            html.density(found.targets.tolist(), found.predictions.tolist(), "true", "predicted")
            + html.paragraph(note, note=True),
        ),
        (
            "Errors: predicted less true",
            html.histogram([float(f"{edge:.4g}") for edge in edges], counts.tolist(), "error"),
        ),
    ]


def of_rankings(found: RankingQuality) -> list[tuple[str, str]]:
    """How much of what there is is offered, and how far the offers lean towards what most users take."""
    offered, taken = found.offered, found.taken
    top = max(1, round(POPULAR * len(offered)))
    figures = [
        ("coverage: items that are among the first 10 of somebody", f"{(offered > 0).mean():.1%} of {len(offered):,}"),
        (f"share of the offers that are of the {POPULAR:.0%} most frequent items in training", _share(offered, top)),
        ("the same of the items that were to be found", _share(taken, top)),
    ]
    note = (
        "Items are numbered from the most frequent one in training. A model that only repeats what is popular offers "
    )
    note += "few of them; one that leans less than what was to be found offers the rare more than users take it."
    edges = np.linspace(0, len(offered), min(HISTOGRAM_BARS, len(offered)) + 1).round().astype(int)
    binned = [int(offered[low:high].sum()) for low, high in pairwise(edges)]
    wanted = [int(taken[low:high].sum()) for low, high in pairwise(edges)]
    return [
        (
            "Coverage and popularity",
            html.table(("figure", "value"), figures) + html.paragraph(note, note=True),
        ),
        ("Offers by the item's place in popularity", html.histogram(edges.tolist(), binned, "place")),
        ("What was to be found, by the same", html.histogram(edges.tolist(), wanted, "place")),
    ]


def _share(counts: NDArray[np.int64], top: int) -> str:
    return f"{counts[:top].sum() / max(1, counts.sum()):.1%}"


def _figure(found: MetricFigure) -> str:
    interval = "" if found.low is None or found.high is None else f" ({found.low:.4f} to {found.high:.4f})"
    return f"{found.value:.4f}{interval}"


def _curve(log_history: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(float(entry["step"]), float(entry[key])) for entry in log_history if key in entry]


def _validation(log_history: Sequence[dict[str, Any]]) -> list[tuple[str, list[tuple[float, float]]]]:
    curve = _curve(log_history, "eval_loss")
    return [("validation", curve)] if curve else []
