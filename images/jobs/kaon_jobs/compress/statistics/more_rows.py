"""About how many more rows would decide what the rows that are there leave open. Pure.

Assumes that more rows would be answered like those that are there: an estimate to plan by, not a promise. Where the
measured drop lies close to the bound no number of rows is near, and none is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kaon_jobs.compress.statistics import limits
from kaon_jobs.compress.statistics.pairs import Pairs

MOST, MOST_OF_FEW = 20, 1000
"""Times as many rows as there are, or rows where there are few: beyond that the estimate means little."""
CLASSES_TRIED = 8
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Wanted:
    """The class that leaves the most doubt, its rows, and what would decide: more of them, or else more of all."""

    label: str | None
    rows: int
    more_rows: int | None = None
    more_rows_of_all: int | None = None


def more_rows_of_rate(lost: float, won: float, rows: int, bound: float, confidence: float) -> int | None:
    """For a share of rows lost, such as the drop of accuracy or of one class's recall."""
    if rows == 0:
        return _rows_without_loss(bound, confidence)
    certainty = limits.certainty if lost - won <= bound * rows else limits.certainty_of_more

    def decides(total: int) -> bool:
        return certainty(lost * total / rows, won * total / rows, total, bound) >= confidence

    return _more(rows, decides)


def more_rows_of_mean(rows: int, doubt: float, room: float) -> int | None:
    """For a mean over rows: its limit, `doubt` away from it, comes nearer by the root of the number of rows.

    Args:
        room: between the mean as measured and the bound.
    """
    if room <= 0:
        return None
    more = math.ceil(rows * (doubt / room) ** 2) - rows
    return max(1, more) if rows + more <= max(rows * MOST, MOST_OF_FEW) else None


def more_rows_of_macro_f1(pairs: Pairs, bound: float, confidence: float, seed: int) -> Wanted:
    """For macro-F1: the class of which the fewest more rows would decide, else rows of all classes alike."""
    support = pairs.support
    missing = np.flatnonzero(support == 0)
    if len(missing):
        # A class alone moves macro-F1 by its own F1 over the number of classes; F1 = 2r / (1 + r) gives the recall.
        f1 = min(1.0, bound * len(support))
        return Wanted(pairs.labels[missing[0]], 0, _rows_without_loss(2 * f1 / (1 + f1), confidence))
    keeps = float(pairs.macro_f1_drop(pairs.weights)) <= bound
    certainty = limits.macro_f1_certainty if keeps else limits.macro_f1_certainty_of_more

    def certain(chosen: NDArray[np.bool_], factor: float) -> float:
        return certainty(pairs, pairs.weights * np.where(chosen, factor, 1.0), bound, seed, _DRAWS)

    def decided(chosen: NDArray[np.bool_], there: float, total: int) -> bool:
        return certain(chosen, total / there) >= confidence

    # What four times the rows of a class would bring says which one leaves the most doubt.
    rarest = np.argsort(support, kind="stable")[:CLASSES_TRIED]
    brought = {int(label): certain(pairs.truth == label, 4.0) for label in rarest}
    doubtful = sorted(brought, key=lambda label: (-brought[label], support[label]))
    fewest: tuple[int, int] | None = None
    for label in doubtful:
        decides = partial(decided, pairs.truth == label, float(support[label]))
        more = _more(int(support[label]), decides, None if fewest is None else fewest[0] - 1)
        if more is not None:
            fewest = (more, label)
    if fewest is not None:
        more, label = fewest
        return Wanted(pairs.labels[label], int(support[label]), more)
    label, every = doubtful[0], np.ones(len(pairs.weights), dtype=bool)
    of_all = _more(round(pairs.rows), partial(decided, every, pairs.rows))
    return Wanted(pairs.labels[label], int(support[label]), None, of_all)


def _rows_without_loss(bound: float, confidence: float) -> int | None:
    """How many rows, none of them lost, show that a class keeps its bound."""
    if bound >= 1:
        return 1
    return math.ceil(math.log(1 - confidence) / math.log(1 - bound)) if bound > 0 else None


def _more(rows: int, decides: Callable[[int], bool], at_most: int | None = None) -> int | None:
    """About the fewest rows on top of `rows` that decide; None when `at_most`, or as many as are near, do not."""
    limit = max(rows * MOST, MOST_OF_FEW)
    if at_most is not None:
        limit = min(limit, rows + at_most)
    low, high = rows, rows + 1
    while high > limit or not decides(high):
        if high >= limit:
            return None
        low, high = high, min(limit, rows + 2 * (high - rows))
    while high - low > max(1, (high - rows) // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high - rows
