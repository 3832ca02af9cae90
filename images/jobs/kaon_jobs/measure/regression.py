"""Quality of predicted numbers against true ones. Pure: arrays in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaon.api.metrics import MetricFigure
from kaon.tasks.metrics import MAE, R2, RMSE
from kaon_jobs.measure.resampling import ENDS, resampled_means

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class NumberQuality:
    """How good predicted numbers are."""

    metrics: dict[str, MetricFigure]
    """Of REGRESSION, by name, with 95 % intervals. Without R² where all true numbers are the same."""
    targets: Doubles
    """[rows]"""
    predictions: Doubles
    """[rows]"""


def number_quality(targets: NDArray[np.floating], predictions: NDArray[np.floating]) -> NumberQuality:
    """RMSE, MAE and R², each with its 95 % interval by resampling rows.

    Args:
        targets: [rows]
        predictions: [rows, 1] or [rows]
    """
    true, said = np.asarray(targets, np.float64), np.asarray(predictions, np.float64).reshape(-1)
    errors, centred = said - true, true - true.mean()
    # The sums are taken of numbers near 1, whatever the unit.
    scale = max(float(np.abs(errors).max()), float(np.abs(centred).max())) or 1.0
    drawn = resampled_means(
        np.column_stack([(errors / scale) ** 2, np.abs(errors / scale), centred / scale, (centred / scale) ** 2])
    )
    spread = drawn[:, 3] - drawn[:, 2] ** 2
    values = {
        RMSE.name: (float(np.sqrt(np.mean(errors**2))), scale * np.sqrt(drawn[:, 0])),
        MAE.name: (float(np.abs(errors).mean()), scale * drawn[:, 1]),
    }
    if np.ptp(true) > 0:
        value = 1 - float(np.sum(errors**2) / np.sum(centred**2))
        values[R2.name] = (value, 1 - drawn[:, 0] / np.maximum(spread, 1e-12))
    return NumberQuality({name: _figure(*found) for name, found in values.items()}, true, said)


def _figure(value: float, drawn: Doubles) -> MetricFigure:
    low, high = np.quantile(drawn, ENDS)
    return MetricFigure(value=_round(value), low=_round(min(low, value)), high=_round(max(high, value)))


def _round(value: float) -> float:
    # Significant digits: the unit is anybody's.
    return float(f"{value:.6g}")
