"""`status.display`: figures as `kubectl get` prints them. Pure.

A printer column shows a number of the status as JSON has it, with every digit. So the rounded form stands beside it.
"""

from __future__ import annotations

from typing import Any

from kaon.api.evaluation import Display, Evaluation
from kaon.api.report import CompressionResult


def of_training(found: Evaluation) -> dict[str, Any]:
    """The quality on the test split."""
    return Display(accuracy=_quality(found.accuracy), macro_f1=_quality(found.macro_f1)).wire()


def of_compression(found: CompressionResult) -> dict[str, Any]:
    """What was won, and the quality that is left on the test split."""
    return Display(
        smaller=_times(found.size_ratio),
        faster=_times(found.speedup.value if found.speedup else None),
        accuracy=_quality(found.evaluation.accuracy if found.evaluation else None),
    ).wire()


def _quality(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _times(value: float | None) -> str | None:
    """Two decimals; three digits where these would show too little or too much."""
    if value is None:
        return None
    return f"{value:.2f}x" if 1 <= value < 10_000 else f"{value:.3g}x"
