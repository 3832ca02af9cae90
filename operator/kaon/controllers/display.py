"""`status.display`: figures as `kubectl get` prints them. Pure.

A printer column shows a number of the status as JSON has it, with every digit. So the rounded form stands beside it.
"""

from __future__ import annotations

from typing import Any

from kaon.api.evaluation import Display, Evaluation
from kaon.api.report import CompressionResult
from kaon.controllers.metrics import headline
from kaon.tasks.base import Task


def of_training(task: Task | None, found: Evaluation) -> dict[str, Any]:
    """The quality on the test split."""
    return Display(quality=_quality(task, found)).wire()


def of_compression(task: Task | None, found: CompressionResult) -> dict[str, Any]:
    """What was won, and the quality that is left on the test split."""
    return Display(
        smaller=_times(found.size_ratio),
        faster=_times(found.speedup.value if found.speedup else None),
        quality=_quality(task, found.evaluation),
    ).wire()


def _quality(task: Task | None, found: Evaluation | None) -> str | None:
    return headline(task, found, 3) or None


def _times(value: float | None) -> str | None:
    """Two decimals; three digits where these would show too little or too much."""
    if value is None:
        return None
    return f"{value:.2f}x" if 1 <= value < 10_000 else f"{value:.3g}x"
