"""AUC and log loss of probabilities, each with a 95 % interval. Pure: arrays in, numbers out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from kaon_jobs.measure.resampling import CONFIDENCE, interval

LEAST_PROBABILITY = 1e-15
"""Smaller ones count as this, so that one row that was thought impossible does not decide alone."""
_Z = float(norm.ppf((1 + CONFIDENCE) / 2))

Figure = tuple[float, float, float]
"""Value, and the ends of its interval."""


def log_losses(true_ids: NDArray[np.int64], probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Negative natural logarithm of the probability of each row's class [rows]."""
    given = probabilities[np.arange(len(true_ids)), true_ids].astype(np.float64)
    return np.asarray(-np.log(np.clip(given, LEAST_PROBABILITY, 1.0)))


def log_loss(true_ids: NDArray[np.int64], probabilities: NDArray[np.floating]) -> Figure:
    """Mean of the rows' log losses; its interval by resampling rows."""
    losses = log_losses(true_ids, probabilities)
    low, high = interval(losses[:, None], lambda means: means[:, 0])
    return float(losses.mean()), low, high


def auc(true_ids: NDArray[np.int64], probabilities: NDArray[np.floating]) -> Figure | None:
    """Area under the ROC curve, of more than two classes the mean of each against the others.

    None when no class has both rows of it and others. Classes without are left out of the mean. The interval is that
    of DeLong et al. (1988) on the scale of logits, by ranks as Sun and Xu (2014) compute it; the mean over classes
    adds the rows' influences on each. Where every pair is in order, or none, it is Wilson's of the smallest side.
    """
    rows = len(true_ids)
    influence, areas, smallest = np.zeros(rows), [], rows
    # Of two classes both areas are the same.
    for one in range(1 if probabilities.shape[1] == 2 else 0, probabilities.shape[1]):
        inside = true_ids == one
        own, others = int(inside.sum()), rows - int(inside.sum())
        if not own or not others:
            continue
        smallest = min(smallest, own, others)
        scores = probabilities[:, one]
        ranks = rankdata(scores)
        # Share of the other side's rows that each row stands in right order with.
        right = np.empty(rows)
        right[inside] = (ranks[inside] - rankdata(scores[inside])) / others
        right[~inside] = 1 - (ranks[~inside] - rankdata(scores[~inside])) / own
        area = float(right[inside].mean())
        areas.append(area)
        influence += np.where(inside, (right - area) / own, (right - area) / others)
    if not areas:
        return None
    value = float(np.mean(areas))
    error = float(np.sqrt(np.sum((influence / len(areas)) ** 2)))
    if not 0 < value < 1 or error == 0:
        return (value, *_wilson(value, smallest))
    centre, spread = math.log(value / (1 - value)), _Z * error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-end)) for end in (max(-700.0, centre - spread), min(700.0, centre + spread)))
    return value, low, high


def _wilson(share: float, rows: int) -> tuple[float, float]:
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    half = _Z / (1 + _Z**2 / rows) * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)
