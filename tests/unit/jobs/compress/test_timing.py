"""Timing in turns, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from kaon_jobs.compress.statistics.timing import FEWEST_ROUNDS, WARM_UP_ROUNDS, Timing, interleave, speedup


class Clock:
    """Moves only when a model runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def model(self, name: str, seconds: float) -> object:
        def predict(text: str) -> None:
            self.calls.append(name)
            self.now += seconds

        return predict

    def __call__(self) -> float:
        return self.now


def test_models_take_turns_and_the_order_alternates() -> None:
    clock = Clock()
    interleave(clock.model("old", 1), clock.model("new", 1), ["x"], rounds=4, max_seconds=99, clock=clock)  # type: ignore[arg-type]
    timed = clock.calls[2 * WARM_UP_ROUNDS :]
    assert timed == ["old", "new", "new", "old", "old", "new", "new", "old"]


def test_times_are_milliseconds_of_each_model() -> None:
    clock = Clock()
    timed = interleave(
        clock.model("old", 0.01), clock.model("new", 0.004), ["x"], rounds=40, max_seconds=99, clock=clock
    )  # type: ignore[arg-type]
    assert timed.baseline.p50 == pytest.approx(10) and timed.candidate.p99 == pytest.approx(4)
    found = speedup(timed, 0)
    assert found is not None and found.value == pytest.approx(2.5)


def test_a_slow_machine_ends_the_measurement_in_time_but_not_before_there_is_an_interval() -> None:
    clock = Clock()
    timed = interleave(clock.model("old", 5), clock.model("new", 5), ["x"], rounds=1000, max_seconds=1, clock=clock)  # type: ignore[arg-type]
    assert len(timed.baseline_ms) == len(timed.candidate_ms) == FEWEST_ROUNDS


def test_a_spell_that_slows_both_models_moves_no_ratio() -> None:
    random = np.random.default_rng(0)
    mood = np.repeat([1.0, 3.0, 1.0, 2.0], 50)
    old, new = 10 * mood * random.normal(1, 0.02, 200), 5 * mood * random.normal(1, 0.02, 200)
    found = speedup(Timing(tuple(old), tuple(new)), 0)
    assert found is not None and found.low < 2.0 < found.high and found.low > 1


def test_equal_models_are_not_called_faster() -> None:
    random = np.random.default_rng(0)
    found = speedup(Timing(tuple(random.gamma(9, 1, 200)), tuple(random.gamma(9, 1, 200))), 0)
    assert found is not None and found.low < 1 < found.high


@pytest.mark.parametrize("rounds", [0, 1, FEWEST_ROUNDS - 1])
def test_too_few_rounds_give_no_figure(rounds: int) -> None:
    assert speedup(Timing((1.0,) * rounds, (1.0,) * rounds), 0) is None
