"""The splits of a dataset artifact, as other stages read them: `<split>.parquet` with text, label_id and row_id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kaon.contract.jobspec import InputArtifact
from kaon.contract.manifest import Manifest
from kaon_jobs.artifact import Artifact, fetch
from kaon_jobs.errors import StageFailure
from kaon_jobs.store import Progress

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split, in the artifact's order."""

    texts: list[str]
    label_ids: NDArray[np.int64]
    """Index into the dataset's classes."""
    row_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


def split_file(split: SplitName) -> str:
    """The name of a split's file."""
    return f"{split}.parquet"


def fetch_dataset(
    source: InputArtifact, target: Path, splits: tuple[SplitName, ...] = SPLITS, progress: Progress | None = None
) -> Artifact:
    """Copies the splits of a dataset artifact into a directory, verified."""
    return fetch(source, target, only=[split_file(split) for split in splits], progress=progress)


def classes_of(manifest: Manifest) -> list[str]:
    """The classes of a dataset, in the order of their ids.

    Raises:
        StageFailure: the artifact is not a dataset.
    """
    if manifest.kind != "dataset" or manifest.result.dataset is None:
        raise StageFailure("NotADataset", f"the artifact of input {manifest.input_digest} is a {manifest.kind}")
    return manifest.result.dataset.classes


def read_split(directory: Path, split: SplitName) -> Rows:
    """One split from a directory that fetch_dataset has filled."""
    table = pq.read_table(directory / split_file(split), columns=["text", "label_id", "row_id"])
    return Rows(
        texts=table["text"].to_pylist(),
        label_ids=table["label_id"].to_numpy().astype(np.int64),
        row_ids=table["row_id"].to_numpy().astype(np.int64),
    )
