"""How much faster: two models timed in turns in one process, and what can be said from it.

Machines are busy and clocks change, so an absolute time means little; the ratio of two models that took turns means
much. Every round runs each model once on the same example, in an order that alternates; the interval comes from a
bootstrap over blocks of consecutive rounds, because neighbouring rounds share the machine's mood.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.compressionjob import Interval
from kaon.api.evaluation import Latency

Predict = Callable[[Any], object]
"""One example, from what a client sends to scores."""

BLOCK_ROUNDS = 10
RESAMPLES = 2000
WARM_UP_ROUNDS = 8
MOST_ROUNDS = 2000
LEAST_SECONDS = 1.0
FEWEST_ROUNDS = 3 * BLOCK_ROUNDS
"""Under this there is no interval worth the name, and no figure is given."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds a prediction of batch size 1, round by round; the two arrays belong together."""

    baseline_ms: tuple[float, ...]
    candidate_ms: tuple[float, ...]

    @property
    def baseline(self) -> Latency:
        """p50 and p99 of the baseline."""
        return _latency(self.baseline_ms)

    @property
    def candidate(self) -> Latency:
        """p50 and p99 of the candidate."""
        return _latency(self.candidate_ms)


def interleave(
    baseline: Predict,
    candidate: Predict,
    examples: Sequence[Any],
    *,
    rounds: int,
    max_seconds: float,
    stopped: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Times both models on the same examples, in turns, for `rounds` rounds or until `max_seconds` have passed.

    Of models that take microseconds it takes more rounds: a second of them, or MOST_ROUNDS.
    `stopped` is called between rounds and may raise to end the measurement.
    """
    for example in _cycle(examples, WARM_UP_ROUNDS):
        baseline(example)
        candidate(example)
    old: list[float] = []
    new: list[float] = []
    begin = clock()
    # A collection in the middle of one prediction would be charged to whichever model happened to run.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for number, example in enumerate(_cycle(examples, max(rounds, MOST_ROUNDS))):
            stopped()
            passed = clock() - begin
            if (number >= FEWEST_ROUNDS and passed >= max_seconds) or (number >= rounds and passed >= LEAST_SECONDS):
                break
            order = ((baseline, old), (candidate, new)) if number % 2 == 0 else ((candidate, new), (baseline, old))
            for predict, times in order:
                start = clock()
                predict(example)
                times.append((clock() - start) * 1000)
    finally:
        if was_enabled:
            gc.enable()
    return Timing(tuple(old), tuple(new))


def speedup(timing: Timing, seed: int) -> Interval | None:
    """Baseline p50 / candidate p50 with its 95 % interval; None when there are too few rounds to say."""
    old, new = np.asarray(timing.baseline_ms), np.asarray(timing.candidate_ms)
    blocks = len(old) // BLOCK_ROUNDS
    if len(old) != len(new) or len(old) < FEWEST_ROUNDS:
        return None
    random = np.random.default_rng(seed)
    drawn = random.integers(blocks, size=(RESAMPLES, blocks))
    ratios = _block_medians(old, blocks, drawn) / _block_medians(new, blocks, drawn)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(value=float(np.median(old) / np.median(new)), low=float(low), high=float(high))


def _block_medians(times: NDArray[np.float64], blocks: int, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    shaped = times[: blocks * BLOCK_ROUNDS].reshape(blocks, BLOCK_ROUNDS)
    return np.asarray(np.median(shaped[drawn].reshape(len(drawn), -1), axis=1), dtype=np.float64)


def _latency(times: Sequence[float]) -> Latency:
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return Latency(p50=float(p50), p99=float(p99))


def _cycle(examples: Sequence[Any], count: int) -> list[Any]:
    return [examples[index % len(examples)] for index in range(count)]
