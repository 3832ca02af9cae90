"""The search over trees: a ladder of shares, then between the last that keeps and the first that breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaon.api.compressionjob import Budget, SearchLimits
from kaon_jobs.compress.search.auto import next_move
from kaon_jobs.compress.search.moves import Done, Pipeline, Question, Seen, Tried, Try, first_trees
from kaon_jobs.compress.verdict.selection import choose, contender

from .figures_of import measured, quality

TREES = 800
BUDGET = Budget.model_validate({"maxDrop": {"accuracy": 0.05}})


def _question(trees: int = TREES, trials: int = 24) -> Question:
    return Question(BUDGET, "size", SearchLimits(max_trials=trials), 1_000_000, trees=trees)


def _search(question: Question, enough: int, *, fails: bool = False) -> tuple[list[Tried], str]:
    """Runs the search over a model of which `enough` trees keep the quality."""
    tried: list[Tried] = []
    while True:
        move = next_move(question, Seen(tried))
        if isinstance(move, Done):
            return tried, move.reason
        assert isinstance(move, Try)
        count = _count(move.pipeline, question.trees)
        figures = measured(quality(lost_big=0 if count >= enough else 400), size_ratio=question.trees / count)
        figures = replace(figures, size_bytes=1000 * count)
        found = None if fails else contender(move.pipeline.name, figures, BUDGET, "size")
        tried.append(Tried(move.pipeline, found))


def _count(pipeline: Pipeline, trees: int) -> int:
    (step,) = pipeline.steps
    assert step.prune is not None and step.prune.method == "trees" and step.prune.ratio is not None
    return round(trees * (1 - step.prune.ratio))


@pytest.mark.parametrize("enough", [1, 50, 51, 77, 150, 333, 555, 700, 799])
def test_the_fewest_trees_that_keep_the_budget_are_found_within_a_tenth(enough: int) -> None:
    tried, _ = _search(_question(), enough)
    counts = [_count(item.pipeline, TREES) for item in tried]
    assert counts[0] == 400 and len(set(counts)) == len(counts) <= 9
    chosen = choose([item.contender for item in tried if item.contender is not None], "size")
    keeping = [count for count in counts if count >= enough]
    if keeping:
        assert chosen is not None and chosen.name == first_trees(min(keeping), TREES).name
        assert min(keeping) <= max(50, 1.11 * enough)
    else:
        assert chosen is None and enough > TREES / 1.1


def test_the_ladder_ends_at_a_sixteenth() -> None:
    tried, reason = _search(_question(), 1)
    assert [_count(item.pipeline, TREES) for item in tried] == [400, 200, 100, 50]
    assert reason == "the smallest share of the trees that is tried keeps the quality"


def test_trials_are_bounded_and_a_technique_that_fails_is_no_keeping() -> None:
    tried, reason = _search(_question(trials=3), 333)
    assert len(tried) == 3 and reason == "search.maxTrials 3 is reached"
    tried, _ = _search(_question(), 1, fails=True)
    assert all(item.contender is None for item in tried) and len(tried) < 9


@pytest.mark.parametrize("trees", [1, 2, 3, 5])
def test_few_trees_are_tried_one_by_one_and_one_is_left_as_it_is(trees: int) -> None:
    tried, _ = _search(_question(trees), trees)
    counts = [_count(item.pipeline, trees) for item in tried]
    assert all(1 <= count < trees for count in counts) and len(set(counts)) == len(counts)
    assert bool(counts) == (trees > 1)


def test_nothing_else_is_tried_on_trees() -> None:
    tried, _ = _search(_question(), 100)
    assert all(step.prune is not None for item in tried for step in item.pipeline.steps)
