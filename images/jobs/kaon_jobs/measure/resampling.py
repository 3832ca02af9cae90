"""What a figure would have been on other rows like these: the Bayesian bootstrap (Rubin 1981), in bounded time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

DRAWS = 1000
"""For intervals: their ends are then known to about a tenth of their width."""
FEWEST_DRAWS = 100
MOST_WEIGHTS = 200_000_000
"""Drawn in all, in about two seconds: of more rows there are fewer draws."""
CONFIDENCE = 0.95
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
_CHUNK = 4_000_000
"""Weights drawn at once."""


def resampled_means(columns: Doubles) -> Doubles:
    """Means of each column under random weights of the rows, [draws, columns]. Seeded: the same for the same rows.

    Args:
        columns: [rows, columns], at least one row, of about one scale (the sums are taken in float32).
    """
    rows = len(columns)
    draws = min(DRAWS, max(FEWEST_DRAWS, MOST_WEIGHTS // rows))
    size = max(1, _CHUNK // rows)
    random = np.random.default_rng(0)
    given = np.column_stack([np.ones(rows), columns]).astype(np.float32)
    found = []
    for start in range(0, draws, size):
        weights = random.standard_exponential((min(size, draws - start), rows), dtype=np.float32)
        sums = (weights @ given).astype(np.float64)
        found.append(sums[:, 1:] / sums[:, :1])
    return np.concatenate(found)


def interval(columns: Doubles, figure: Callable[[Doubles], Doubles]) -> tuple[float, float]:
    """95 % interval of a figure that is a function of the means of columns.

    Args:
        figure: takes means [draws, columns], gives [draws].
    """
    low, high = np.quantile(figure(resampled_means(columns)), ENDS)
    return float(low), float(high)
