"""Predictions of a split as a file: row_id, label_id, predicted_id, probabilities. Later stages compare with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kaon_jobs.data.splits import Rows, SplitName


def predictions_file(split: SplitName) -> str:
    """The name of a split's predictions in a model's artifact."""
    return f"predictions-{split}.parquet"


def write_predictions(path: Path, rows: Rows, probabilities: NDArray[np.float32]) -> None:
    """Writes the probabilities of a split's rows, in the split's order."""
    table = pa.table(
        {
            "row_id": pa.array(rows.row_ids, pa.int64()),
            "label_id": pa.array(rows.targets, pa.int64()),
            "predicted_id": pa.array(probabilities.argmax(axis=1), pa.int64()),
            "probabilities": pa.array(list(probabilities), pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, path, compression="zstd")


def read_probabilities(path: Path) -> NDArray[np.float32]:
    """The probabilities [rows, classes] of a file that write_predictions wrote."""
    return np.asarray(pq.read_table(path, columns=["probabilities"])["probabilities"].to_pylist(), dtype=np.float32)
