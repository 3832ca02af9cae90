"""What a candidate loses against the baseline on the same users: how much each metric falls, and how sure. Pure.

Both models ranked items for the same users, so each user has two values of a metric. They are weighed anew in each draw
as the rows of numbers.py are, and the same rule keeps few users from looking certain: for an upper limit one more user
is counted who loses as much as the best served one has (for a lower one, who wins as much).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kaon_jobs.compress.statistics.numbers import NumberQuality, Numbers, Rises, quality_of_rises, weighted
from kaon_jobs.compress.statistics.quality import CONFIDENCE


def compare_rankings(
    baseline: Mapping[str, Numbers], candidate: Mapping[str, Numbers], seed: int, confidence: float = CONFIDENCE
) -> NumberQuality:
    """The figures of `candidate` against `baseline`.

    Args:
        baseline: metric -> its value for each user [users], at least one, between 0 and 1.
    """
    lost = {name: np.asarray(values - candidate[name], np.float64) for name, values in baseline.items()}
    sums, total, extra = weighted(np.column_stack(list(lost.values())), seed)
    more = total + extra
    rises = {}
    for place, (name, values) in enumerate(lost.items()):
        most_lost, most_won = float(baseline[name].max()), float(candidate[name].max())
        rises[name] = Rises(
            measured=float(values.mean()),
            likely=sums[:, place] / total,
            feared=np.sort((sums[:, place] + extra * most_lost) / more),
            hoped=np.sort((sums[:, place] - extra * most_won) / more),
        )
    return quality_of_rises(len(next(iter(lost.values()))), rises, confidence)
