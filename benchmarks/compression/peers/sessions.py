"""onnxruntime as every ONNX contender and the judge run it: so many threads, none of them spinning, no telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from contract import Case, Feed, Rows
from scores import Ids

onnxruntime.disable_telemetry_events()

CALIBRATION_ROWS = 256
"""Training rows from which ranges of activations are learnt; Kaon's static quantization takes as many."""


def session(model: Path | str, threads: int) -> onnxruntime.InferenceSession:
    """A session whose threads leave the cores to others while it waits."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def predicted(model: Path | str, rows: Rows, threads: int) -> Ids:
    """The class of each row, asked one by one."""
    running = session(model, threads)
    return classes_of(lambda feed: running.run(None, feed)[0], rows)


def classes_of(scores: Callable[[Feed], np.typing.ArrayLike], rows: Rows, *, fixed_length: bool = False) -> Ids:
    """The class with the highest score of each row, asked one by one as a server is."""
    found = [np.asarray(scores(feed)).argmax() for feed in rows.feeds(fixed_length=fixed_length)]
    return np.asarray(found, dtype=np.int64)


def calibration(case: Case, *, fixed_length: bool = False) -> list[Feed]:
    """Training rows spread over the split."""
    train = case.rows("train")
    step = max(1, len(train) // CALIBRATION_ROWS)
    return list(train.feeds(range(0, len(train), step)[:CALIBRATION_ROWS], fixed_length=fixed_length))


class Reader:
    """Calibration rows as onnxruntime's quantizer and its relatives ask for them."""

    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = feeds
        self._next: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next row, None at the end."""
        return next(self._next, None)

    def rewind(self) -> None:
        """From the start again."""
        self._next = iter(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Only these rows from here on; `end_index` excluded."""
        self._next = iter(self._feeds[start_index:end_index])

    def __len__(self) -> int:
        return len(self._feeds)
