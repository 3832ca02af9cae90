"""Scores made as sure as they should be: temperature scaling (Guo et al. 2017, arXiv 1706.04599). Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

ABSENT = -100.0
"""The score of a class without a training row."""


def sharpness(scores: NDArray[np.floating[Any]], label_ids: NDArray[np.int64], *, cautious: bool = False) -> float:
    """The factor of the scores with which the probabilities of these rows' classes are likeliest; 0.1 to 100.

    Args:
        scores: [rows, classes]
        cautious: count as if one row more of each class were right and one wrong, as Platt (1999) does, so that a few
            rows that are all right do not make it certain.
    """
    rows = np.arange(len(scores))
    doubt = 1 / (len(scores) + 2) if cautious else 0.0

    def loss(exponent: float) -> float:
        scaled = scores * np.exp(exponent)
        top = scaled.max(axis=1)
        right = scaled[rows, label_ids]
        if doubt:
            right = (1 - doubt) * right + doubt * scaled.mean(axis=1)
        return float(np.mean(np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - right))

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(100.0)), method="bounded")
    return float(np.exp(found.x))
