"""The splits of a dataset artifact, as other stages read them: `<split>.parquet` with the inputs, targets and row_id.

Inputs are a column `text`; a column `image`, the files of images; a column `features`, a struct with a field for each
column of a table; or a column `values` of float32 tensors of one shape. Targets are a column `label_id` of class ids,
or a column `target` of numbers.
Of interactions a row is a user: `user`, `history` and `targets`, whose numbers are those of items.parquet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kaon.api.dataset import Feature
from kaon.api.report import DatasetResult
from kaon.contract.jobspec import InputArtifact
from kaon.contract.manifest import Manifest
from kaon_jobs.data.catalogue import ITEMS_FILE, read_items
from kaon_jobs.errors import StageFailure
from kaon_jobs.store.artifact import Artifact, fetch
from kaon_jobs.store.objectstore import Progress

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split, in the artifact's order."""

    inputs: list[Any]
    """Texts; files of images, as bytes; rows of a table, each a tuple with a value (text, number or None) for each
    column; float32 arrays of one shape; or of interactions a pair: the names of the items that a user has taken, and
    the user's."""
    targets: NDArray[Any]
    """Indices into the dataset's classes (int64), or numbers (float64); of interactions an array (int64) of items for
    each row, those that the user took next, and of training rows all that they took."""
    row_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def some(self, chosen: NDArray[np.int64]) -> Rows:
        """These rows alone, in this order."""
        return Rows([self.inputs[row] for row in chosen], self.targets[chosen], self.row_ids[chosen])


def split_file(split: SplitName) -> str:
    """The name of a split's file."""
    return f"{split}.parquet"


def fetch_dataset(
    source: InputArtifact, target: Path, splits: tuple[SplitName, ...] = SPLITS, progress: Progress | None = None
) -> Artifact:
    """Copies the splits of a dataset artifact, and its items if it has some, into a directory, verified."""

    def wanted(manifest: Manifest) -> list[str]:
        beside = [file.path for file in manifest.files if file.path == ITEMS_FILE]
        return [*(split_file(split) for split in splits), *beside]

    return fetch(source, target, kinds={"dataset"}, only=wanted, progress=progress)


def classes_of(manifest: Manifest) -> list[str]:
    """The classes of a dataset, in the order of their ids; none where its label is a number.

    Raises:
        StageFailure: the artifact is not a dataset.
    """
    return _result(manifest).classes


def features_of(manifest: Manifest) -> list[Feature]:
    """The columns of a dataset that models read, in the order of the rows' values.

    Raises:
        StageFailure: the artifact is not a dataset.
    """
    return _result(manifest).features


def _result(manifest: Manifest) -> DatasetResult:
    if manifest.kind != "dataset" or manifest.result.dataset is None:
        raise StageFailure("NotADataset", f"the artifact of the address {manifest.address} is a {manifest.kind}")
    return manifest.result.dataset


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
    there = file.schema_arrow.names
    if "history" in there:
        return _read_histories(directory, file.read())
    column = next(name for name in ("text", "image", "features", "values") if name in there)
    target = "label_id" if "label_id" in there else "target"
    table = file.read(columns=[column, target, "row_id"])
    return Rows(
        inputs=_images(table[column]) if column == "image" else _inputs(table[column].combine_chunks()),
        targets=table[target].to_numpy().astype(np.int64 if target == "label_id" else np.float64),
        row_ids=table["row_id"].to_numpy().astype(np.int64),
    )


def _images(column: pa.ChunkedArray) -> list[bytes]:
    # Together they may be more than one array holds.
    return [value for chunk in column.chunks for value in chunk.to_pylist()]


def write_histories(
    directory: Path,
    split: SplitName,
    users: Sequence[str],
    histories: Sequence[NDArray[np.int64]],
    targets: Sequence[NDArray[np.int64]],
    numbers: NDArray[np.int64],
) -> None:
    """One split of interactions, a row for each user.

    Args:
        numbers: of the users, of whom each has one row in a split at most.
    """
    table = pa.table(
        {
            "user": pa.array(users, pa.string()),
            "history": pa.array(histories, pa.list_(pa.int32())),
            "targets": pa.array(targets, pa.list_(pa.int32())),
            "row_id": pa.array(numbers, pa.int64()),
        }
    )
    pq.write_table(table, directory / split_file(split), compression="zstd")


def _read_histories(directory: Path, table: pa.Table) -> Rows:
    items = read_items(directory)
    if items is None:
        raise StageFailure("ArtifactIncomplete", f"the dataset of interactions in {directory} has no {ITEMS_FILE}")
    names = np.asarray(items.names, dtype=np.object_)
    targets = np.empty(len(table), dtype=np.object_)
    targets[:] = _lists(table["targets"])
    taken = [tuple(names[history]) for history in _lists(table["history"])]
    users = table["user"].to_pylist()
    return Rows(list(zip(taken, users, strict=True)), targets, table["row_id"].to_numpy().astype(np.int64))


def _lists(column: pa.ChunkedArray) -> list[NDArray[np.int64]]:
    lists = column.combine_chunks()
    ends = lists.offsets.to_numpy()
    values = lists.values.to_numpy(zero_copy_only=False).astype(np.int64)
    return [values[start:end] for start, end in pairwise(ends)]


def _inputs(column: pa.Array) -> list[Any]:
    if isinstance(column, pa.FixedShapeTensorArray):
        return list(column.to_numpy_ndarray())
    if not pa.types.is_struct(column.type):
        return list(column.to_pylist())
    values = [_plain(part).to_pylist() for part in column.flatten()]
    return list(zip(*values, strict=True)) if values else [()] * len(column)


def _plain(values: pa.Array) -> pa.Array:
    """Points in time as ISO 8601, as a client sends them."""
    if not pa.types.is_timestamp(values.type):
        return values
    return pc.strftime(values.cast(pa.timestamp("us")), format="%Y-%m-%dT%H:%M:%S")
