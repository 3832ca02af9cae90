"""Whether a ranking is the recorded one. Standard library only: a probe inside of a server's container asks it."""

from __future__ import annotations

import math
from collections.abc import Sequence


def ranking_difference(
    items: Sequence[object],
    scores: Sequence[float],
    recorded_items: Sequence[object],
    recorded_scores: Sequence[float],
    tolerance: float,
) -> float:
    """The largest difference of a score from the recorded one in the same place; infinite when other items are there.

    Items whose recorded scores are within twice the tolerance of each other may change places, and in the last places
    others may stand whose scores are so.
    """
    if len(items) != len(recorded_items) or len(scores) != len(recorded_scores):
        return math.inf
    if not recorded_scores:
        return 0.0
    apart = [abs(one - other) for one, other in zip(scores, recorded_scores, strict=True)]
    if not all(map(math.isfinite, apart)):
        return math.inf
    places = {item: place for place, item in enumerate(recorded_items)}
    for place, item in enumerate(items):
        score = recorded_scores[place]
        # One that was not recorded had a score of at most the last one's.
        other = recorded_scores[places.get(item, len(recorded_scores) - 1)]
        if item != recorded_items[place] and abs(score - other) > 2 * tolerance:
            return math.inf
    return max(apart)
