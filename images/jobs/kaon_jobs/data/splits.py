"""The splits of a dataset artifact, as other stages read them: `<split>.parquet` with label_id, row_id and the inputs.

Inputs are a column `text`, or a column `values` of float32 tensors of one shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kaon.contract.jobspec import InputArtifact
from kaon.contract.manifest import Manifest
from kaon_jobs.errors import StageFailure
from kaon_jobs.store.artifact import Artifact, fetch
from kaon_jobs.store.objectstore import Progress

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split, in the artifact's order."""

    inputs: list[Any]
    """Texts, or float32 arrays of one shape."""
    label_ids: NDArray[np.int64]
    """Index into the dataset's classes."""
    row_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def some(self, chosen: NDArray[np.int64]) -> Rows:
        """These rows alone, in this order."""
        return Rows([self.inputs[row] for row in chosen], self.label_ids[chosen], self.row_ids[chosen])


def split_file(split: SplitName) -> str:
    """The name of a split's file."""
    return f"{split}.parquet"


def fetch_dataset(
    source: InputArtifact, target: Path, splits: tuple[SplitName, ...] = SPLITS, progress: Progress | None = None
) -> Artifact:
    """Copies the splits of a dataset artifact into a directory, verified."""
    return fetch(source, target, kinds={"dataset"}, only=[split_file(split) for split in splits], progress=progress)


def classes_of(manifest: Manifest) -> list[str]:
    """The classes of a dataset, in the order of their ids.

    Raises:
        StageFailure: the artifact is not a dataset.
    """
    if manifest.kind != "dataset" or manifest.result.dataset is None:
        raise StageFailure("NotADataset", f"the artifact of the address {manifest.address} is a {manifest.kind}")
    return manifest.result.dataset.classes


def write_arrays(
    directory: Path, split: SplitName, values: NDArray[np.float32], label_ids: NDArray[np.int64], first_row: int
) -> None:
    """One split whose inputs are arrays, rows first; they are numbered from `first_row` on."""
    table = pa.table(
        {
            "values": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values)),
            "label_id": pa.array(label_ids, pa.int64()),
            "row_id": pa.array(range(first_row, first_row + len(values)), pa.int64()),
        }
    )
    pq.write_table(table, directory / split_file(split), compression="zstd")


def read_split(directory: Path, split: SplitName) -> Rows:
    """One split from a directory that fetch_dataset has filled."""
    file = pq.ParquetFile(directory / split_file(split))
    column = "text" if "text" in file.schema_arrow.names else "values"
    table = file.read(columns=[column, "label_id", "row_id"])
    inputs = table[column].combine_chunks()
    return Rows(
        inputs=inputs.to_pylist() if column == "text" else list(inputs.to_numpy_ndarray()),
        label_ids=table["label_id"].to_numpy().astype(np.int64),
        row_ids=table["row_id"].to_numpy().astype(np.int64),
    )
