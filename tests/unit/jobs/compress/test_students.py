"""The search over structures, in worlds whose quality depends on what is left of the model and how long it learnt."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from kaon.api.compressionjob import Budget, SearchLimits
from kaon.api.evaluation import Latency
from kaon_jobs.compress.families.encoder_shape import MIN_COUNTS, EncoderShape, EncoderStructure, spread
from kaon_jobs.compress.search.auto import next_move
from kaon_jobs.compress.search.moves import (
    DYNAMIC,
    FUSION,
    TABLES_IN_INT4,
    Done,
    Pipeline,
    Probe,
    Probed,
    Question,
    Seen,
    Tried,
    Try,
)
from kaon_jobs.compress.search.shape import Point, learn
from kaon_jobs.compress.search.students import student_of
from kaon_jobs.compress.verdict.selection import choose, contender

from .figures_of import measured, quality

SHAPE = EncoderShape(
    depth=6,
    hidden=384,
    width=1536,
    heads=12,
    sequence=48,
    vocabulary=30_000,
    tokens=tuple(zip(MIN_COUNTS, (10_000, 8000, 7000, 6000, 5000), strict=True)),
    rows=4878,
)
WHOLE = SHAPE.whole


def _structure(pipeline: Pipeline) -> EncoderStructure:
    """The structure of a pipeline, trained or not."""
    return SHAPE.structure_of(pipeline.steps)


def _costs(structure: EncoderStructure) -> tuple[float, float]:
    """(times smaller, times faster): INT8, and a fixed part that nothing takes away."""
    size = 0.02 + 0.23 * SHAPE.weights(structure) / SHAPE.weights(WHOLE)
    time = 0.04 + 0.40 * SHAPE.work(structure) / SHAPE.work(WHOLE)
    return 1 / size, 1 / time


class World:
    """Students with at least `enough` of the work lose nothing after `epochs` of training, others too much."""

    def __init__(
        self,
        enough: float,
        epochs: int = 10,
        budget: dict[str, Any] | None = None,
        clock: random.Random | None = None,
        objective: str = "latency",
        lost_in_four_bits: int = 0,
        **limits: Any,
    ) -> None:
        self.enough, self.epochs, self.clock = enough, epochs, clock
        self.lost_in_four_bits = lost_in_four_bits
        self.question = Question(
            Budget.model_validate({"maxDrop": {"accuracy": 0.01}, **(budget or {})}),
            objective,
            SearchLimits.model_validate({"maxTrials": 60, **limits}),
            91_000_000,
            shape=SHAPE,
        )
        self.tried: list[Tried] = []
        self.probed: list[Probed] = []

    def lost(self, pipeline: Pipeline) -> int:
        student, four_bits = student_of(pipeline, SHAPE), TABLES_IN_INT4 in pipeline.steps
        if student is None:
            return self.lost_in_four_bits if four_bits else 0
        learnt = sum(lesson.epochs or 0 for lesson in student.lessons)
        share = SHAPE.work(student.structure) / SHAPE.work(WHOLE)
        return int(400 * max(0.0, self.enough - share)) + (0 if learnt >= self.epochs else 20)

    def costs(self, pipeline: Pipeline) -> tuple[float, float]:
        """As they are measured: a time is never the same twice."""
        ratio, speed = _costs(_structure(pipeline))
        ratio *= 1.4 if TABLES_IN_INT4 in pipeline.steps else 1.0
        return ratio, speed * (self.clock.uniform(0.96, 1.04) if self.clock else 1.0)

    def run(self) -> Done:
        for _ in range(200):
            move = next_move(self.question, Seen(self.tried, self.probed))
            match move:
                case Done():
                    return move
                case Probe(pipeline):
                    assert pipeline not in [item.pipeline for item in self.probed]
                    assert not any(step.distill for step in pipeline.steps), "a probe trains nothing"
                    self.probed.append(Probed(pipeline, *self.costs(pipeline)))
                case Try(pipeline):
                    assert pipeline not in [item.pipeline for item in self.tried], "nothing is tried twice"
                    ratio, speed = self.costs(pipeline)
                    figures = measured(
                        quality(lost_big=self.lost(pipeline)),
                        speed=(speed, speed * 0.98, speed * 1.02),
                        latency=Latency(p50=10 / speed, p99=18 / speed),
                        size_bytes=int(91_000_000 / ratio),
                        size_ratio=ratio,
                    )
                    held = contender(pipeline.name, figures, self.question.budget, self.question.objective)
                    self.tried.append(Tried(pipeline, held))
                case _:
                    raise AssertionError(move)
        raise AssertionError("the search does not end")

    @property
    def sent(self) -> Pipeline:
        """What is sent to the test split."""
        best = choose([item.contender for item in self.tried if item.contender], self.question.objective)
        return next(item.pipeline for item in self.tried if item.contender is best)

    @property
    def chosen(self) -> EncoderStructure:
        return _structure(self.sent)


def test_plain_int8_is_tried_first_and_structures_are_timed_before_any_is_trained() -> None:
    world = World(0.0)
    world.run()
    assert world.tried[0].pipeline == Pipeline((FUSION, DYNAMIC))
    assert 3 <= len(world.probed) <= 5


@pytest.mark.parametrize("enough", [0.02, 0.1, 0.25, 0.5])
def test_the_smallest_structure_that_is_good_enough_is_found_within_a_fifth(enough: float) -> None:
    world = World(enough)
    world.run()
    work = SHAPE.work(world.chosen) / SHAPE.work(WHOLE)
    possible = min(
        SHAPE.work(item) / SHAPE.work(WHOLE)
        for item in SHAPE.first
        if SHAPE.work(item) / SHAPE.work(WHOLE) >= enough - 0.02
    )
    assert work <= possible * 1.2


def test_what_nobody_misses_goes_without_training() -> None:
    world = World(0.1)
    world.run()
    assert world.tried[1].pipeline == Pipeline((*SHAPE.steps(WHOLE), FUSION, DYNAMIC))
    assert [step.kind for step in world.tried[1].pipeline.steps] == ["vocabulary", "optimize", "quantize"]


def test_of_many_rows_fewer_epochs_are_learnt() -> None:
    assert SHAPE.rungs == (4, 10) and SHAPE.epochs == (12, 20, 30)
    larger = replace(SHAPE, rows=9051)
    assert larger.rungs == (2, 5) and larger.epochs == (6, 11, 16)
    assert replace(SHAPE, rows=10**6).epochs == (2,) and replace(SHAPE, rows=100).rungs == (4, 10)


def test_the_better_half_is_trained_longer_and_goes_on_from_where_it_is() -> None:
    world = World(0.1)
    world.run()
    trained = [item.pipeline for item in world.tried if student_of(item.pipeline, SHAPE)]
    short = [item for item in trained if len(student_of(item, SHAPE).lessons) == 1]  # type: ignore[union-attr]
    long = [item for item in trained if len(student_of(item, SHAPE).lessons) == 2]  # type: ignore[union-attr]
    first = {
        item for item in short if all(step.distill is None or step.distill.learning_rate is None for step in item.steps)
    }
    assert len(first) == 6 and len(long) == 3
    for pipeline in long:
        lessons = [index for index, step in enumerate(pipeline.steps) if step.distill]
        prefix = Pipeline((*pipeline.steps[: lessons[-1]], *pipeline.steps[lessons[-1] + 1 :]))
        assert prefix in first


def test_a_budget_rules_out_structures_before_they_are_trained() -> None:
    world = World(0.0, budget={"minSpeedup": 8})
    world.run()
    trained = [_structure(item.pipeline) for item in world.tried if student_of(item.pipeline, SHAPE)]
    assert trained and all(_costs(item)[1] > 6.9 for item in trained)


@pytest.mark.parametrize("budget", [{"minSizeRatio": 500}, {"minSpeedup": 200}])
def test_a_budget_beyond_the_smallest_structure_is_impossible_before_anything_is_trained(
    budget: dict[str, float],
) -> None:
    world = World(0.0, budget=budget)
    done = world.run()
    assert done.bound is not None and "cannot be met" in done.bound
    assert len(world.tried) == 1


def test_a_latency_that_the_smallest_structure_cannot_reach_is_impossible_before_anything_is_trained() -> None:
    world = World(0.0, budget={"maxLatencyMs": {"p50": 0.1, "p99": 5}})
    done = world.run()
    assert done.bound is not None and "0.1 ms (maxLatencyMs) where the baseline takes 10 ms" in done.bound
    assert len(world.tried) == 1


def test_a_budget_on_latency_rules_out_structures_before_they_are_trained() -> None:
    world = World(0.0, budget={"maxLatencyMs": {"p50": 1, "p99": 10}})
    world.run()
    trained = [_structure(item.pipeline) for item in world.tried if student_of(item.pipeline, SHAPE)]
    assert trained and all(_costs(item)[1] > 6.9 for item in trained)


def test_quality_that_no_allowed_structure_keeps_ends_the_search_in_less_than_half_of_its_trials() -> None:
    hopeless = World(2.0, budget={"minSizeRatio": 8})
    done = hopeless.run()
    assert done.bound is not None and "8 times smaller" in done.bound
    full = World(0.1, budget={"minSizeRatio": 8})
    full.run()
    assert len(hopeless.tried) <= 10 and full.chosen is not None


def test_without_a_bound_on_size_lossy_students_leave_plain_int8_as_the_choice() -> None:
    world = World(2.0)
    world.run()
    assert world.chosen == WHOLE


@pytest.mark.parametrize(("lost", "stored"), [(0, True), (100, False)])
def test_for_size_the_tables_are_stored_in_four_bits_unless_that_loses_too_much(lost: int, stored: bool) -> None:
    world = World(0.1, objective="size", lost_in_four_bits=lost)
    world.run()
    assert (TABLES_IN_INT4 in world.sent.steps) == stored
    assert _costs(world.chosen)[0] > 10


def test_for_latency_four_bits_are_not_tried() -> None:
    world = World(0.1)
    world.run()
    assert not any(TABLES_IN_INT4 in item.pipeline.steps for item in world.tried)


def test_the_limit_on_trials_holds() -> None:
    world = World(0.1, maxTrials=5)
    assert "maxTrials" in world.run().reason
    assert len(world.tried) == 5


def test_the_same_world_is_searched_in_the_same_way() -> None:
    one, other = World(0.1), World(0.1)
    one.run()
    other.run()
    assert [item.pipeline.name for item in one.tried] == [item.pipeline.name for item in other.tried]


@pytest.mark.parametrize("enough", [0.02, 0.1, 0.25])
def test_what_the_clock_says_each_time_changes_neither_the_trials_nor_the_choice(enough: float) -> None:
    worlds = [World(enough, clock=random.Random(seed)) for seed in range(4)]
    for world in worlds:
        world.run()
    assert len({tuple(item.pipeline.name for item in world.tried) for world in worlds}) == 1
    assert len({world.chosen for world in worlds}) == 1


def test_a_structure_that_cannot_be_built_is_no_reason_to_stop() -> None:
    world = World(0.1)
    world.probed = [Probed(Pipeline((*SHAPE.steps(item), FUSION, DYNAMIC))) for item in SHAPE.first]
    assert world.run().reason


def test_lines_through_a_few_structures_tell_what_the_others_cost() -> None:
    known = [EncoderStructure(spread(6, count), narrowed, 2) for count, narrowed in ((1, 0.75), (3, 0.5), (6, 0.0))]
    costs = learn([Point(item, *_costs(item)) for item in known], SHAPE)
    for structure in SHAPE.first:
        assert costs.size_ratio(structure) == pytest.approx(_costs(structure)[0], rel=0.01)
        assert costs.speedup(structure) == pytest.approx(_costs(structure)[1], rel=0.01)


def test_layers_that_stay_are_spread_and_hold_the_first_and_the_last() -> None:
    assert [spread(6, count) for count in (1, 2, 3, 6)] == [(0,), (0, 5), (0, 2, 5), (0, 1, 2, 3, 4, 5)]


def test_a_structure_is_read_back_from_its_steps_and_its_parameters() -> None:
    structure = EncoderStructure((0, 5), 0.5, 2, 0.25)
    assert SHAPE.structure_of(SHAPE.steps(structure)) == structure == SHAPE.structure(SHAPE.parameters(structure))
    assert SHAPE.work(structure) < SHAPE.work(replace(structure, fewer_heads=0.0))
    assert SHAPE.weights(structure) < SHAPE.weights(replace(structure, fewer_heads=0.0))


def test_of_few_heads_only_shares_that_are_heads_can_go() -> None:
    assert SHAPE.choices["fewerHeads"] == [0.0, 0.25, 0.5]
    assert replace(SHAPE, heads=2).choices["fewerHeads"] == [0.0, 0.5]
    assert replace(SHAPE, heads=1).choices["fewerHeads"] == [0.0]


def test_a_vocabulary_that_is_needed_in_full_is_left_alone() -> None:
    small = replace(SHAPE, vocabulary=8000)
    steps = [small.steps(EncoderStructure((0, 5), 0.0, count))[0].kind for count in (1, 2, 3)]
    assert steps == ["prune", "prune", "vocabulary"]
