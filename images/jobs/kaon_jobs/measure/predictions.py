"""Predictions of a split as a file. Later stages compare with it.

Of classes: row_id, label_id, predicted_id, probabilities. Of numbers: row_id, target, prediction. Of ranked
items: row_id, targets, items and scores, where items are their numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kaon_jobs.data.splits import Rows, SplitName
from kaon_jobs.predict.onnx_model import Floats


def predictions_file(split: SplitName) -> str:
    """The name of a split's predictions in a model's artifact."""
    return f"predictions-{split}.parquet"


def write_predictions(path: Path, rows: Rows, answers: Floats) -> None:
    """Writes the answers to a split's rows, in its order: probabilities of classes, or predictions [rows, 1]."""
    if rows.targets.dtype == np.object_:
        numbers, scores = np.split(answers, 2, axis=1)
        told = {
            "targets": pa.array(list(rows.targets), pa.list_(pa.int32())),
            "items": pa.array(list(numbers.astype(np.int32)), pa.list_(pa.int32())),
            "scores": pa.array(list(scores.astype(np.float32)), pa.list_(pa.float32())),
        }
    elif np.issubdtype(rows.targets.dtype, np.floating):
        told = {
            "target": pa.array(rows.targets, pa.float64()),
            "prediction": pa.array(answers.reshape(-1), pa.float64()),
        }
    else:
        told = {
            "label_id": pa.array(rows.targets, pa.int64()),
            "predicted_id": pa.array(answers.argmax(axis=1), pa.int64()),
            "probabilities": pa.array(list(answers), pa.list_(pa.float32())),
        }
    table = pa.table({"row_id": pa.array(rows.row_ids, pa.int64()), **told})
    pq.write_table(table, path, compression="zstd")


def read_probabilities(path: Path) -> Floats:
    """The probabilities [rows, classes] of a file that write_predictions wrote of classes."""
    return np.asarray(pq.read_table(path, columns=["probabilities"])["probabilities"].to_pylist(), dtype=np.float32)


def read_answers(path: Path) -> Floats:
    """What write_predictions was given: probabilities [rows, classes], or predictions [rows, 1]."""
    names = pq.read_schema(path).names
    if "items" in names:
        table = pq.read_table(path, columns=["items", "scores"])
        return np.asarray(
            [
                [*items, *scores]
                for items, scores in zip(*(table[name].to_pylist() for name in ("items", "scores")), strict=True)
            ],
            dtype=np.float32,
        )
    if "prediction" not in names:
        return read_probabilities(path)
    return np.asarray(pq.read_table(path, columns=["prediction"])["prediction"], dtype=np.float32).reshape(-1, 1)
