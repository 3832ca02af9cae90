"""What Olive's workflow calls back: calibration rows, the validation score, and the p50 of a model."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from contract import Case, Feed, read_case
from olive.data.registry import Registry
from peers.sessions import calibration, predicted, session
from torch.utils.data import Dataset

CASE_VARIABLE = "BENCHMARK_CASE"
TIMED_ROWS = 100


class _Feeds(Dataset[tuple[Feed, int]]):
    def __init__(self, feeds: list[Feed]) -> None:
        # The loader adds the batch's dimension.
        self._feeds = [{name: values[0] for name, values in feed.items()} for feed in feeds]

    def __len__(self) -> int:
        return len(self._feeds)

    def __getitem__(self, row: int) -> tuple[Feed, int]:
        return self._feeds[row], 0


@Registry.register_dataset()
def training_rows(**_: Any) -> _Feeds:
    """Training rows of one length each: histograms of different shapes do not add up."""
    return _Feeds(calibration(_case(), fixed_length=True))


def score(model: Any, device: str, execution_providers: Any) -> float:
    """See Case.validation_score."""
    case = _case()
    validation = case.rows("validation")
    return case.validation_score(validation, predicted(model.model_path, validation, case.threads))


def latency(model: Any, device: str, execution_providers: Any) -> float:
    """p50 of a prediction, milliseconds."""
    case = _case()
    validation = case.rows("validation")
    running = session(model.model_path, case.threads)
    times = []
    for feed in validation.feeds(range(min(TIMED_ROWS, len(validation)))):
        start = time.perf_counter()
        running.run(None, feed)
        times.append((time.perf_counter() - start) * 1000)
    return float(np.median(times))


def _case() -> Case:
    return read_case(Path(os.environ[CASE_VARIABLE]))
