"""A training that would not end in time is given up at its beginning, and not at its end."""

from __future__ import annotations

import pytest

from kaon_jobs.compress.trials.explore import OutOfTime, Patience


class Clock:
    """Stands where it is put."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _hear(seconds: float, *heard: tuple[float, str, float]) -> None:
    """(seconds since the beginning, phase, share that is done)."""
    clock = Clock()
    patience = Patience(seconds, clock)
    for after, phase, share in heard:
        clock.now = 100.0 + after
        patience.hear(phase, share)


def test_a_training_that_fits_goes_on_to_its_end() -> None:
    _hear(100, (0, "distilling", 0.0), (9, "distilling", 0.1), (90, "distilling", 1.0))


def test_a_training_that_does_not_fit_is_given_up_after_its_first_steps_and_the_message_says_by_how_much() -> None:
    with pytest.raises(OutOfTime, match="distilling would take 300 s, and 100 s were left"):
        _hear(100, (0, "distilling", 0.0), (12, "distilling", 0.04))


def test_each_phase_is_told_by_its_own_pace_and_by_what_is_left_when_it_begins() -> None:
    with pytest.raises(OutOfTime, match="distilling would take 40 s, and 20 s were left"):
        _hear(100, (0, "teaching", 0.0), (79, "teaching", 1.0), (80, "distilling", 0.0), (90, "distilling", 0.25))


def test_the_first_step_tells_nothing() -> None:
    _hear(1, (0, "distilling", 0.0), (5, "distilling", 0.01))


def test_without_a_limit_nothing_is_given_up() -> None:
    _hear(float("inf"), (0, "distilling", 0.0), (1e6, "distilling", 0.05))
