"""Quality of ranked items against those that users took. Pure: arrays in, numbers out.

All items are ranked: with a sample of them the order of two models may turn around (Krichene and Rendle, "On Sampled
Metrics for Item Recommendation", KDD 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaon.api.metrics import MetricFigure
from kaon.tasks.metrics import MRR_AT_10, NDCG_AT_10, RECALL_AT_10
from kaon_jobs.measure.resampling import ENDS, resampled_means

Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]

PLACES = 10
"""Of a ranking that are looked at."""
_GAINS = 1 / np.log2(np.arange(2, PLACES + 2))
_IDEAL = np.concatenate([[0.0], np.cumsum(_GAINS)])


@dataclass(frozen=True, slots=True, eq=False)
class RankingQuality:
    """How good rankings are."""

    metrics: dict[str, MetricFigure]
    """Of RANKING, by name, with 95 % intervals over users."""
    offered: Ids
    """[items], how often each is among the first ten."""
    taken: Ids
    """[items], how often each was to be found."""


def by_user(targets: Sequence[Ids], ranked: NDArray[Any]) -> dict[str, Doubles]:
    """Each metric of RANKING for each user [users].

    Args:
        targets: items that a user took, at least one.
        ranked: [users, places] numbers of items, the best first; below 0 for none. Ten places count.
    """
    first = np.asarray(ranked[:, :PLACES], np.int64)
    hits = np.zeros((len(first), PLACES))
    for row, wanted in enumerate(targets):
        hits[row, : first.shape[1]] = np.isin(first[row], wanted)
    wanted_count = np.minimum(np.asarray([len(wanted) for wanted in targets], np.int64), PLACES)
    place = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    return {
        NDCG_AT_10.name: hits @ _GAINS / _IDEAL[wanted_count],
        RECALL_AT_10.name: hits.sum(axis=1) / wanted_count,
        MRR_AT_10.name: 1 / place,
    }


def ranking_quality(targets: Sequence[Ids], ranked: NDArray[Any], items: int) -> RankingQuality:
    """The metrics of rankings, each with its 95 % interval by resampling users; see `by_user`.

    Args:
        items: that the model knows. What else was taken has numbers from there on, and is never found.
    """
    values = by_user(targets, ranked)
    drawn = resampled_means(np.column_stack(list(values.values())))
    figures = {}
    for place, (name, each) in enumerate(values.items()):
        value, (low, high) = float(each.mean()), np.quantile(drawn[:, place], ENDS)
        figures[name] = MetricFigure(value=_round(value), low=_round(min(low, value)), high=_round(max(high, value)))
    offered = np.asarray(ranked[:, :PLACES], np.int64).ravel()
    every = np.concatenate([np.asarray(one, np.int64) for one in targets])
    return RankingQuality(
        figures,
        np.bincount(offered[offered >= 0], minlength=items)[:items],
        np.bincount(every, minlength=items)[:items],
    )


def _round(value: float) -> float:
    # Six digits are more than any test split resolves.
    return round(float(value), 6)
