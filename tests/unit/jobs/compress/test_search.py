"""The search of a model without its trained form, in worlds where techniques succeed, fail, or lose too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kaon.api.compressionjob import Budget, SearchLimits
from kaon_jobs.compress.search.auto import next_move
from kaon_jobs.compress.search.moves import (
    FUSION,
    Done,
    Pipeline,
    Question,
    Scan,
    Seen,
    Tried,
    Try,
    linear_models,
)
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.selection import contender

from .figures_of import measured, quality

World = Callable[[Pipeline], Measured | None]
GROUPS = [("n1",), ("n2", "n3"), ("n4",), ("n5",), ("n6",)]
LINEAR = linear_models(None)


def _question(budget: dict[str, Any] | None = None, objective: str = "latency", **more: Any) -> Question:
    limits = SearchLimits.model_validate(more.pop("limits", {}))
    return Question(Budget.model_validate(budget or {"maxDrop": {"accuracy": 0.01}}), objective, limits, 100, **more)


def _search(question: Question, world: World) -> tuple[list[Tried], int, str]:
    """Drives next_move to its end: trials, scans, why it ended."""
    tried: list[Tried] = []
    sensitive: Sequence[Sequence[str]] | None = None
    scans = 0
    for _ in range(100):
        move = next_move(question, Seen(tried, sensitive=sensitive))
        match move:
            case Done(reason):
                return tried, scans, reason
            case Scan():
                scans, sensitive = scans + 1, GROUPS
            case Try(pipeline):
                assert pipeline not in [item.pipeline for item in tried], "no pipeline is tried twice"
                found = world(pipeline)
                held = contender(pipeline.name, found, question.budget, question.objective) if found else None
                tried.append(Tried(pipeline, held))
    raise AssertionError("the search does not end")


def _good(pipeline: Pipeline) -> Measured:
    return measured()


def _lossy(pipeline: Pipeline) -> Measured:
    return measured(quality(lost_big=200 if pipeline.quantize else 0))


def _names(tried: list[Tried]) -> list[str]:
    return [item.pipeline.name for item in tried]


def test_the_ladder_is_short_and_ends_when_something_keeps_the_budget() -> None:
    tried, scans, reason = _search(_question(), _good)
    assert _names(tried) == ["fusion+int8-dynamic", "int8-dynamic", "fusion+int8-static", "fusion"]
    assert (scans, reason) == (0, "the ladder is tried")


def test_a_size_budget_rules_out_what_stays_large() -> None:
    tried, _, _ = _search(_question({"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 3.5}), _good)
    assert "fusion" not in _names(tried)


def test_a_model_that_cannot_be_fused_is_quantized_as_it_is() -> None:
    tried, _, _ = _search(_question(), lambda pipeline: None if FUSION in pipeline.steps else measured())
    assert _names(tried) == ["fusion+int8-dynamic", "int8-dynamic", "int8-static"]


def test_a_quality_budget_that_is_missed_starts_one_scan_and_excludes_more_and_more() -> None:
    question = _question({"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 2})
    tried, scans, reason = _search(question, _lossy)
    excluded = [
        list(item.pipeline.quantize.exclude)
        for item in tried
        if item.pipeline.quantize and item.pipeline.quantize.exclude
    ]
    assert scans == 1
    assert excluded == [["n1"], ["n1", "n2", "n3"], ["n1", "n2", "n3", "n4", "n5"]]
    assert reason == "every rescue is tried"
    assert _names(tried)[-2:] == ["fusion+int8-static(entropy)", "fusion+int8-static(percentile)"]


def test_a_rescue_that_works_ends_the_search() -> None:
    def rescued(pipeline: Pipeline) -> Measured:
        quantize = pipeline.quantize
        return measured() if quantize and "n2" in quantize.exclude else measured(quality(lost_big=200))

    tried, _, _ = _search(_question({"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 2}), rescued)
    assert _names(tried)[-1].endswith("(exclude 3)")


def test_full_precision_is_no_rescue_from_a_size_that_is_too_large() -> None:
    question = _question({"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 4.5})
    _, scans, reason = _search(question, _good)
    assert (scans, reason) == (0, "the ladder is tried")


def test_a_lossless_pipeline_that_wins_nothing_is_no_reason_to_give_up_on_int8() -> None:
    tried, scans, _ = _search(_question(), _lossy)
    assert "fusion" in _names(tried) and scans == 1


def test_storage_in_fp16_is_the_last_resort_of_an_objective_of_size() -> None:
    tried, _, _ = _search(_question(objective="size"), _lossy)
    assert _names(tried)[-1] == "fusion+fp16"
    assert "fusion" not in _names(tried)


def test_an_impossible_budget_costs_one_trial() -> None:
    tried, _, reason = _search(_question({"maxDrop": {"accuracy": 0.01}, "minSizeRatio": 50}, impossible=True), _good)
    assert len(tried) == 1 and "impossible" in reason


@pytest.mark.parametrize("most", [1, 2, 5])
def test_max_trials_bounds_every_search(most: int) -> None:
    tried, _, reason = _search(_question(limits={"maxTrials": most}), _lossy)
    assert len(tried) <= most
    assert most > 4 or "maxTrials" in reason


def test_time_that_is_up_ends_the_search_after_the_first_trial() -> None:
    question = _question(limits={"maxDurationSeconds": 10})
    assert isinstance(next_move(question, Seen(elapsed_seconds=11)), Try)
    first = Tried(Pipeline((FUSION,)), contender("fusion", measured(), question.budget, "latency"), seconds=4)
    over = Done("search.maxDurationSeconds 10 is reached")
    assert next_move(question, Seen([first], elapsed_seconds=11)) == over
    assert next_move(question, Seen([first], elapsed_seconds=7)) == over, "the next one would end too late"
    assert next_move(question, Seen([first], elapsed_seconds=3)) != over


def test_the_same_world_is_searched_in_the_same_way() -> None:
    assert _names(_search(_question(), _lossy)[0]) == _names(_search(_question(), _lossy)[0])


def test_nothing_that_works_ends_too() -> None:
    tried, _, reason = _search(_question(), lambda pipeline: None)
    assert tried and all(item.contender is None for item in tried)
    assert reason == "the ladder is tried"


class TestALinearModel:
    """A student of another family: first, because it takes seconds and nothing else is as small."""

    def kept_from(self, words: int) -> World:
        def world(pipeline: Pipeline) -> Measured:
            linear = pipeline.steps[0].linear
            return measured(quality(lost_big=200 if linear is not None and linear.words < words else 0))

        return world

    def test_that_keeps_the_budget_ends_the_search_with_the_smallest_that_does(self) -> None:
        tried, _, reason = _search(_question(linear=LINEAR), self.kept_from(2000))
        assert _names(tried) == [f"linear({words} words)" for words in (20000, 5000, 2000, 1000)]
        assert reason == "a linear model keeps the budget, and nothing else is as small and fast"

    def test_that_keeps_it_at_every_size_is_tried_at_every_size(self) -> None:
        tried, _, _ = _search(_question(linear=LINEAR), _good)
        assert len(tried) == len(LINEAR)

    def test_that_loses_too_much_costs_one_trial(self) -> None:
        tried, _, reason = _search(_question(linear=LINEAR), self.kept_from(50_000))
        without, _, same = _search(_question(), _good)
        assert _names(tried) == ["linear(20000 words)", *_names(without)] and reason == same

    def test_in_place_of_a_linear_model_reads_fewer_words_than_that_one(self) -> None:
        tried, _, _ = _search(_question(linear=linear_models(1500)), self.kept_from(1000))
        assert _names(tried) == ["linear(1000 words)", "linear(500 words)"]

    def test_that_cannot_be_made_is_passed_over(self) -> None:
        tried, _, _ = _search(
            _question(linear=LINEAR), lambda pipeline: None if pipeline.steps[0].linear else measured()
        )
        assert _names(tried)[:2] == ["linear(20000 words)", "fusion+int8-dynamic"]
