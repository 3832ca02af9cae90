"""How fast and how large in memory each of two models is, with intervals, from measurements that took turns. Pure.

Single times on a shared machine come in moods of some rounds' length, so that blocks of rounds are resampled, not
rounds. Intervals of latency and throughput are 95 %; that of memory spans the fresh processes that were started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kaon.api.compressionjob import Interval
from kaon_jobs.compress.statistics.timing import BLOCK_ROUNDS, RESAMPLES


@dataclass(frozen=True, slots=True)
class Speeds:
    """Of one model: milliseconds of one prediction of batch size 1, texts a second in batches, bytes."""

    p50_ms: Interval
    p99_ms: Interval
    throughput_per_second: Interval
    peak_memory_bytes: Interval


def percentile(times_ms: Sequence[float], share: float, seed: int) -> Interval:
    """A percentile of round times, with its interval from a bootstrap over blocks of rounds."""
    times = np.asarray(times_ms, dtype=np.float64)
    blocks = max(1, len(times) // BLOCK_ROUNDS)
    shaped = times[: blocks * BLOCK_ROUNDS].reshape(blocks, -1)
    drawn = np.random.default_rng(seed).integers(blocks, size=(RESAMPLES, blocks))
    found = np.quantile(shaped[drawn].reshape(RESAMPLES, -1), share, axis=1)
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(value=float(np.quantile(times, share)), low=float(low), high=float(high))


def throughput(texts: Sequence[int], seconds: Sequence[float], seed: int) -> Interval:
    """Texts a second over batches, each of so many texts in so many seconds; bootstrap over batches."""
    sizes, times = np.asarray(texts, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    low, high = np.quantile(sizes[drawn].sum(axis=1) / times[drawn].sum(axis=1), [0.025, 0.975])
    return Interval(value=float(sizes.sum() / times.sum()), low=float(low), high=float(high))


def memory(peaks: Sequence[int]) -> Interval:
    """The peaks of several fresh processes: their median, the lowest and the highest."""
    return Interval(value=float(np.median(peaks)), low=float(min(peaks)), high=float(max(peaks)))
