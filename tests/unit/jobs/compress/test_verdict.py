"""Every budget, kept and broken, and what becomes of a figure that is missing."""

from __future__ import annotations

from typing import Any

import pytest

from kaon.api.compressionjob import Budget
from kaon.api.evaluation import Latency
from kaon_jobs.compress.verdict.bounds import CHECKS, violations
from kaon_jobs.compress.verdict.figures import Measured, strict

from .figures_of import budget_of, measured, quality

NAN = float("nan")
UNREAL = Latency.model_construct(p50=1, p99=NAN)


def _broken(budget: dict[str, Any], candidate: Measured, objective: str = "latency") -> list[str]:
    return [item.sentence for item in violations(budget_of(budget), objective, strict(candidate))]


@pytest.mark.parametrize(
    ("budget", "candidate"),
    [
        ({"maxDrop": {"accuracy": 0.01}}, measured(quality(lost_big=10))),
        ({"maxDrop": {"macroF1": 0.2}}, measured(quality(lost_small=1))),
        ({"maxClassRecallDrop": 0.25}, measured(quality(lost_small=1))),
        ({"maxSizeBytes": 25}, measured()),
        ({"minSizeRatio": 4}, measured()),
        ({"minSpeedup": 1.9}, measured()),
        ({"maxLatencyMs": {"p50": 5, "p99": 9}}, measured()),
        ({"maxPeakMemoryBytes": 100}, measured()),
        ({"maxDrop": {"accuracy": 0}}, measured(quality(won_big=5))),
        ({"minSpeedup": 0.5}, measured(speed=(0.6, 0.55, 0.65))),
    ],
)
def test_a_figure_that_just_holds_keeps_its_budget(budget: dict[str, Any], candidate: Measured) -> None:
    assert _broken(budget, candidate) == []


@pytest.mark.parametrize(
    ("budget", "candidate", "sentence"),
    [
        ({"maxDrop": {"accuracy": 0.02}}, measured(quality(lost_big=31)), "accuracy drop 0.031 exceeds 0.02"),
        ({"maxDrop": {"macroF1": 0.02}}, measured(quality(lost_small=2)), "macro-F1 drop 0.167 exceeds 0.02"),
        (
            {"maxClassRecallDrop": 0.05},
            measured(quality(lost_small=2)),
            "recall drop of 'small' (4 rows) 0.5 exceeds 0.05",
        ),
        ({"maxSizeBytes": 24_000_000}, measured(size_bytes=25_000_000), "size 25.00 MB exceeds 24.00 MB"),
        ({"minSizeRatio": 4.5}, measured(), "size ratio 4 is below 4.5"),
        (
            {"minSpeedup": 2},
            measured(),
            "speed-up (2.00, 95 % interval 1.90 to 2.10) 1.9 is below 2",
        ),
        ({"maxLatencyMs": {"p50": 4, "p99": 99}}, measured(), "p50 latency 5 ms exceeds 4 ms"),
        ({"maxLatencyMs": {"p50": 99, "p99": 8}}, measured(), "p99 latency 9 ms exceeds 8 ms"),
        (
            {"maxPeakMemoryBytes": 90_000_000},
            measured(peak_memory_bytes=91_000_000),
            "peak memory 91.00 MB exceeds 90.00 MB",
        ),
    ],
)
def test_a_broken_budget_is_a_sentence_with_both_figures(
    budget: dict[str, Any], candidate: Measured, sentence: str
) -> None:
    assert _broken(budget, candidate) == [sentence]


@pytest.mark.parametrize(
    ("budget", "candidate", "field"),
    [
        ({"maxDrop": {"accuracy": 0.5}}, measured(quality=None), "maxDrop.accuracy"),
        ({"maxDrop": {"macroF1": 0.5}}, measured(quality=None), "maxDrop.macroF1"),
        ({"maxClassRecallDrop": 0.5}, measured(quality=None), "maxClassRecallDrop"),
        ({"maxClassRecallDrop": 0.5}, measured(quality(small=0)), "maxClassRecallDrop"),
        ({"minSizeRatio": 1.5}, measured(size_ratio=NAN), "minSizeRatio"),
        ({"maxSizeBytes": 100}, measured(size_bytes=NAN), "maxSizeBytes"),
        ({"minSpeedup": 0.1}, measured(speed=None), "minSpeedup"),
        ({"minSpeedup": 0.1}, measured(speed=(NAN, NAN, NAN)), "minSpeedup"),
        ({}, measured(speed=None), "objective"),
        ({}, measured(speed=(2.0, NAN, 2.1)), "objective"),
        ({"maxLatencyMs": {"p50": 99, "p99": 99}}, measured(latency=None), "maxLatencyMs.p50"),
        ({"maxLatencyMs": {"p50": 99, "p99": 99}}, measured(latency=UNREAL), "maxLatencyMs.p99"),
        ({"maxPeakMemoryBytes": 999}, measured(peak_memory_bytes=None), "maxPeakMemoryBytes"),
    ],
)
def test_a_missing_or_unreal_figure_breaks_its_budget(budget: dict[str, Any], candidate: Measured, field: str) -> None:
    found = violations(budget_of(budget), "latency", strict(candidate))
    assert field in [item.field for item in found]
    assert any("not measured" in item.sentence for item in found)


def test_a_sacrificed_class_is_seen_when_accuracy_is_not() -> None:
    sacrificed = measured(quality(lost_small=4))
    assert _broken({"maxDrop": {"accuracy": 0.01}}, sacrificed) == []
    assert _broken({"maxDrop": {"accuracy": 0.01}, "maxClassRecallDrop": 0.05}, sacrificed) == [
        "recall drop of 'small' (4 rows) 1 exceeds 0.05"
    ]


def test_slower_is_a_verdict_though_nobody_asked_for_a_speed_up() -> None:
    slower = measured(speed=(0.6, 0.55, 0.65))
    assert _broken({"maxDrop": {"accuracy": 0.01}}, slower) == [
        "slower than the baseline: speed-up (0.60, 95 % interval 0.55 to 0.65)"
    ]
    assert _broken({"maxDrop": {"accuracy": 0.01}}, slower, "size") == []


def test_faster_must_be_shown_and_not_only_be_likely() -> None:
    unclear = measured(speed=(1.05, 0.97, 1.1))
    assert _broken({}, unclear) == [
        "not shown to be faster than the baseline: speed-up (1.05, 95 % interval 0.97 to 1.10)"
    ]
    assert _broken({}, measured(speed=(1.05, 1.0, 1.1))) == []


def test_an_objective_of_size_is_not_met_by_a_larger_model() -> None:
    assert _broken({}, measured(size_ratio=0.98), "size") == ["not smaller than the baseline: size ratio 0.98"]
    assert _broken({"maxSizeBytes": 30}, measured(size_ratio=0.98), "size") == []


def test_every_field_of_the_budget_has_a_check() -> None:
    everything: dict[str, Any] = {
        "maxDrop": {"accuracy": 0, "macroF1": 0},
        "maxClassRecallDrop": 0,
        "maxSizeBytes": 1,
        "minSizeRatio": 99,
        "maxLatencyMs": {"p50": 0.1, "p99": 0.1},
        "minSpeedup": 99,
        "maxPeakMemoryBytes": 1,
    }
    policy = {"confidence", "onInconclusive"}
    assert set(everything) == {field.alias for field in Budget.model_fields.values()} - policy
    found = violations(budget_of(everything), "latency", strict(measured(quality(30, 2))))
    assert {item.field.split(".")[0] for item in found} == set(everything)
    # One a check, and one more for each metric.
    assert len(found) == len(CHECKS) + len(everything["maxDrop"])
    assert [item.feasible for item in found if item.field == "minSpeedup"] == ["minSpeedup 1.9"]


def test_what_would_be_feasible_is_kept_when_it_is_asked_for() -> None:
    candidate = measured(quality(lost_big=31, lost_small=1), speed=(1.987, 1.9451, 2.1))
    budget = {"maxDrop": {"accuracy": 0.001, "macroF1": 0.001}, "minSpeedup": 3.0, "minSizeRatio": 9.0}
    offers = [item.feasible for item in violations(budget_of(budget), "latency", strict(candidate))]
    offered = {name: float(value) for name, value in (str(offer).split() for offer in offers)}
    assert set(offered) == {"maxDrop.accuracy", "maxDrop.macroF1", "minSpeedup", "minSizeRatio"}
    relaxed: dict[str, Any] = {"maxDrop": {}}
    for name, value in offered.items():
        field, _, metric = name.partition(".")
        (relaxed[field] if metric else relaxed)[metric or field] = value
    assert _broken(relaxed, candidate) == []
