"""The search over networks: which quantization follows the training is measured, the smallest good structure found."""

from __future__ import annotations

import pytest

from kaon.api.compressionjob import Budget, SearchLimits, Step
from kaon_jobs.compress.families.network_shape import NARROWED, NetworkShape
from kaon_jobs.compress.search.auto import next_move
from kaon_jobs.compress.search.moves import DYNAMIC, STATIC, Done, Pipeline, Probe, Probed, Question, Seen, Tried, Try
from kaon_jobs.compress.search.students import student_of
from kaon_jobs.compress.verdict.selection import choose, contender

from .figures_of import measured, quality

SHAPE = NetworkShape(2800, tuple((gone, 3e7 * (1 - gone) ** 2, 1e7 * (1 - gone) ** 2) for gone in (0.0, *NARROWED)))


class World:
    """Networks with `enough` of their channels lose nothing, others too much, and so do those with a step of `lossy`;
    INT8 is `eight_bits` times faster. The baseline takes `baseline_ms`."""

    def __init__(
        self,
        enough: float,
        eight_bits: float,
        objective: str = "latency",
        lossy: tuple[Step, ...] = (),
        baseline_ms: float = 10.0,
    ) -> None:
        self.enough, self.eight_bits, self.lossy, self.baseline_ms = enough, eight_bits, lossy, baseline_ms
        limits = SearchLimits.model_validate({"maxTrials": 60})
        self.question = Question(Budget(max_drop={"accuracy": 0.01}), objective, limits, 40_000_000, shape=SHAPE)
        self.tried: list[Tried] = []
        self.probed: list[Probed] = []

    def costs(self, pipeline: Pipeline) -> tuple[float, float]:
        left = (1 - SHAPE.structure_of(pipeline.steps).narrowed) ** 2
        static, dynamic = (step in pipeline.steps for step in (STATIC, DYNAMIC))
        faster = self.eight_bits if static else 0.3 if dynamic else 1.0
        return 1 / (0.001 + left / (4 if static or dynamic else 1)), 1 / (0.02 + left / faster)

    def run(self) -> Done:
        for _ in range(200):
            match next_move(self.question, Seen(self.tried, self.probed)):
                case Done() as done:
                    return done
                case Probe(pipeline):
                    assert not any(step.distill for step in pipeline.steps), "a probe trains nothing"
                    self.probed.append(Probed(pipeline, *self.costs(pipeline)))
                case Try(pipeline):
                    assert pipeline not in [item.pipeline for item in self.tried], "nothing is tried twice"
                    ratio, speed = self.costs(pipeline)
                    short = max(0.0, self.enough - (1 - SHAPE.structure_of(pipeline.steps).narrowed))
                    lost = 100 * any(step in pipeline.steps for step in self.lossy)
                    figures = measured(
                        quality(lost_big=lost + (int(20 + 400 * short) if short > 0 else 0)),
                        speed=(speed, speed * 0.98, speed * 1.02),
                        size_bytes=int(40_000_000 / ratio),
                        size_ratio=ratio,
                        baseline_ms=self.baseline_ms,
                    )
                    held = contender(pipeline.name, figures, self.question.budget, self.question.objective)
                    self.tried.append(Tried(pipeline, held))
                case move:
                    raise AssertionError(move)
        raise AssertionError("the search does not end")

    @property
    def chosen(self) -> Pipeline:
        best = choose([item.contender for item in self.tried if item.contender], self.question.objective)
        return next(item.pipeline for item in self.tried if item.contender is best)


def test_eight_bits_are_tried_on_the_whole_network_first() -> None:
    world = World(0.3, 2.0)
    world.run()
    assert [item.pipeline for item in world.tried[:2]] == [Pipeline((STATIC,)), Pipeline((DYNAMIC,))]


@pytest.mark.parametrize(("eight_bits", "tail"), [(2.0, STATIC), (0.5, None)])
def test_students_get_the_quantization_that_makes_them_fastest_or_none(eight_bits: float, tail: object) -> None:
    world = World(0.3, eight_bits)
    world.run()
    trained = [item.pipeline for item in world.tried if student_of(item.pipeline, SHAPE)]
    assert trained and all((item.steps[-1] if item.quantize else None) == tail for item in trained)


@pytest.mark.parametrize("eight_bits", [0.82, 0.93, 0.97, 1.03, 1.07])
def test_of_quantizations_about_as_fast_students_get_the_smallest_whatever_the_clock_says(eight_bits: float) -> None:
    world = World(0.3, eight_bits)
    world.run()
    trained = [item.pipeline for item in world.tried if student_of(item.pipeline, SHAPE)]
    assert trained and all(item.steps[-1] == STATIC for item in trained)


def test_a_few_microseconds_are_no_reason_to_leave_eight_bits_out() -> None:
    world = World(0.3, 0.5, baseline_ms=0.05)
    world.run()
    trained = [item.pipeline for item in world.tried if student_of(item.pipeline, SHAPE)]
    assert trained and all(item.steps[-1] == STATIC for item in trained)


def test_students_do_not_get_a_quantization_that_the_whole_network_does_not_bear() -> None:
    world = World(0.3, 2.0, lossy=(STATIC,))
    world.run()
    trained = [item.pipeline for item in world.tried if student_of(item.pipeline, SHAPE)]
    assert trained and all(item.quantize is None for item in trained)
    assert not any(STATIC in item.pipeline.steps for item in world.probed), "nor is it timed"


def test_by_size_eight_bits_win_whatever_they_take() -> None:
    world = World(0.3, 0.5, objective="size")
    world.run()
    assert world.chosen.quantize is not None


@pytest.mark.parametrize("enough", [0.05, 0.1, 0.24, 0.5])
def test_the_narrowest_network_that_is_good_enough_is_found(enough: float) -> None:
    world = World(enough, 2.0)
    world.run()
    narrowest = max(gone for gone in NARROWED if 1 - gone >= enough)
    assert SHAPE.structure_of(world.chosen.steps).narrowed == narrowest


def test_few_rows_are_learnt_from_for_more_epochs() -> None:
    assert SHAPE.rungs == (5, 14) and NetworkShape(318, ()).rungs == (40, 120)
    assert max(NetworkShape(10, ()).epochs) == 1000


def test_a_network_whose_channels_cannot_go_is_quantized_as_it_is() -> None:
    limits = SearchLimits.model_validate({})
    question = Question(Budget(max_drop={"accuracy": 0.01}), "latency", limits, 40_000_000, shape=None)
    assert isinstance(next_move(question, Seen()), Try)
