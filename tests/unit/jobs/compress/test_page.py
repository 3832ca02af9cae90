"""The report that a person reads: whole, self-contained, and true to the evidence."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from metricvalues import metrics

from kaon.api.compressionjob import Interval, Step, Target
from kaon.api.evaluation import Evaluation, Latency
from kaon_jobs.compress.evidence import document as documents
from kaon_jobs.compress.evidence.attribution import attribution
from kaon_jobs.compress.evidence.charts import front_chart, interval_lines, step_bars
from kaon_jobs.compress.evidence.page import page
from kaon_jobs.compress.statistics.classes import ClassQuality, compare_classes
from kaon_jobs.compress.statistics.speeds import Speeds
from kaon_jobs.compress.verdict.conclusion import conclude
from kaon_jobs.compress.verdict.selection import contender, pareto

from .figures_of import budget_of, measured

STEPS = [
    Step.model_validate({"optimize": "transformer-fusion"}),
    Step.model_validate({"quantize": {"scheme": "int8-dynamic"}}),
]
LABELS = ["acq", "earn", "<grain>"]
BUDGET = {"maxDrop": {"accuracy": 0.01, "macroF1": 0.02}, "maxClassRecallDrop": 0.05, "minSizeRatio": 3}


def _quality(lost: int) -> ClassQuality:
    truth = np.repeat([0, 1, 2], [700, 1100, 10])
    candidate = truth.copy()
    candidate[:lost] = 1
    return compare_classes(truth, truth, candidate, LABELS, seed=0)


def _speeds(p50: float) -> Speeds:
    around = lambda value: Interval(value=value, low=0.9 * value, high=1.1 * value)  # noqa: E731
    return Speeds(around(p50), around(2 * p50), around(1000 / p50), around(5e8))


def _evidence(**changes: Any) -> documents.Evidence:
    budget = budget_of(BUDGET)
    first = measured(_quality(0), (1.2, 1.1, 1.3), size_bytes=90_000_000, size_ratio=1.01)
    second = measured(_quality(3), (2.0, 1.9, 2.1), size_bytes=23_000_000, size_ratio=4.0)
    contenders = [
        contender(name, item, budget, "latency") for name, item in (("fusion", first), ("fusion+int8-dynamic", second))
    ]
    found = conclude(budget, "latency", second, seed=0)
    trials = [
        documents.candidate_evidence(
            item.name, STEPS[: index + 1], "validation", item.measured, [one.sentence for one in item.violations]
        ).model_copy(update={"standing": item.standing, "chance": item.chance, "seconds": 12.0})
        for index, item in enumerate(contenders)
    ]
    evaluation = Evaluation(
        split="test", rows=1810, metrics=metrics(accuracy=0.97, macroF1=0.92, ece=0.013), size_bytes=91_000_000,
        latency_ms=Latency(p50=9, p99=14), peak_memory_bytes=500_000_000,
    )  # fmt: skip
    made = documents.Evidence(
        verdict=found.verdict,
        message="fusion+int8-dynamic is inconclusive on the test split",
        budget=budget,
        objective="latency",
        strategy="auto",
        target=Target(),
        threads=2,
        seed=0,
        model_digest="sha256:" + "a" * 64,
        dataset_digest="sha256:" + "b" * 64,
        isa="AVX2",
        baseline=evaluation,
        evaluation=evaluation.model_copy(update={"metrics": metrics(accuracy=0.97, macroF1=0.92, ece=0.021)}),
        final=documents.candidate_evidence("fusion+int8-dynamic", STEPS, "test", second, []),
        decisions=[documents.decision_evidence(item) for item in found.decisions],
        baseline_speed=documents.speed_evidence(_speeds(9.0)),
        final_speed=documents.speed_evidence(_speeds(4.5)),
        attribution=attribution(STEPS, {1: first, 2: second}, 91_000_000, 9.0),
        front=[item.name for item in pareto(contenders)],
        trials=trials,
        search_ended="the ladder is tried",
        smallest_bytes=22_000_000,
    )
    return made.model_copy(update=changes)


def test_the_report_is_self_contained_and_well_formed() -> None:
    text = page(_evidence())
    assert "<script" not in text and "http" not in text and "src=" not in text and "url(" not in text
    for chart in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(chart)
    assert text.count("<svg") == 4


def test_it_shows_verdict_decisions_steps_front_figures_and_classes_in_this_order() -> None:
    text = page(_evidence())
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "Verdict: Inconclusive",
        "What the 1,810 test rows show",
        "What each step bought and cost",
        "Size and time of every candidate",
        "Candidates",
        "The chosen one on the test split (1,810 rows)",
        "Recall by class, on the test split",
        "How it was measured",
    ]
    for figure in ("calibration error", "0.0130", "0.0210", "p99, ms", "peak memory, MB", "rows a second"):
        assert figure in text


def test_what_is_undecided_says_of_which_class_and_how_many_rows() -> None:
    text = page(_evidence())
    assert (
        "&lt;grain&gt; has 10 rows; about 49 more would decide" in text or "&lt;grain&gt; has 10 rows; about 5" in text
    )


def test_names_from_data_are_escaped_everywhere() -> None:
    assert "<grain>" not in page(_evidence())


def test_an_infeasible_job_has_a_report_without_a_final_candidate() -> None:
    text = page(
        _evidence(
            verdict="Infeasible", final=None, evaluation=None, decisions=[], attribution=[],
            baseline_speed=None, final_speed=None,
        )
    )  # fmt: skip
    assert "Verdict: Infeasible" in text and "Recall by class" not in text


def test_a_candidate_that_gives_no_numbers_has_a_report_too() -> None:
    final = documents.candidate_evidence(
        "x",
        STEPS,
        "test",
        measured(quality=None, unanswered=3),
        ["for 3 rows it gives probabilities that are no numbers"],
    ).model_copy(update={"rows": None, "drops": {}, "classes": []})
    text = page(_evidence(verdict="Rejected", final=final, decisions=[]))
    assert "for 3 rows it gives probabilities that are no numbers" in text and "not measured" in text


def test_the_front_is_a_line_through_what_nothing_beats() -> None:
    chart = front_chart(_evidence())
    points = re.search(r'<polyline points="([^"]+)"', chart)
    assert points is not None and len(points[1].split()) == 1  # One candidate is both smaller and faster.


def test_bars_are_as_long_as_what_is_left() -> None:
    chart = step_bars(_evidence().attribution, 91_000_000, 9.0)
    widths = [float(value) for value in re.findall(r'<rect [^>]*width="([0-9.]+)"', chart)]
    assert widths[2] / widths[0] == pytest.approx(90 / 91, abs=0.01)
    assert widths[4] / widths[0] == pytest.approx(23 / 91, abs=0.01)
    assert widths[5] / widths[1] == pytest.approx(1 / 2, abs=0.01)


def test_intervals_lie_on_one_scale_with_their_bounds() -> None:
    lines = [("a", Interval(value=0.01, low=-0.01, high=0.02), 0.02), ("b", Interval(value=0, low=0, high=0.01), None)]
    chart = ElementTree.fromstring(interval_lines(lines, "lost"))
    drawn = [item for item in chart.iter("line") if item.get("stroke-width") == "3"]
    ends = [(float(item.get("x1", "0")), float(item.get("x2", "0"))) for item in drawn]
    assert ends[0][0] < ends[1][0] < ends[1][1] < ends[0][1]
    bounds = [float(item.get("x1", "0")) for item in chart.iter("line") if item.get("stroke") == "var(--two)"]
    assert bounds == [ends[0][1]]
