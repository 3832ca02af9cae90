"""Intervals of times, throughput and memory: they hold the figure, and the machine's mood widens them."""

from __future__ import annotations

import numpy as np
import pytest

from kaon_jobs.compress.statistics.speeds import memory, percentile, throughput


def test_a_percentile_stands_within_its_interval() -> None:
    times = np.random.default_rng(0).lognormal(1, 0.2, 400).tolist()
    for share in (0.5, 0.99):
        found = percentile(times, share, seed=0)
        assert found.low <= found.value <= found.high
        assert found.value == pytest.approx(np.quantile(times, share))


def test_moods_that_last_for_rounds_widen_the_interval_more_than_single_slow_rounds() -> None:
    slow = np.zeros(400)
    slow[::4] = 5
    scattered = percentile((5 + slow).tolist(), 0.8, seed=0)
    moody = percentile((5 + np.sort(slow)).tolist(), 0.8, seed=0)
    assert moody.high - moody.low >= scattered.high - scattered.low


def test_throughput_counts_texts_and_not_batches() -> None:
    found = throughput([32, 32, 8], [1.0, 1.0, 0.25], seed=0)
    assert found.value == pytest.approx(32) and found.low == pytest.approx(32) == found.high


def test_memory_is_the_median_process_with_the_extremes() -> None:
    found = memory([500, 480, 520])
    assert (found.low, found.value, found.high) == (480, 500, 520)
