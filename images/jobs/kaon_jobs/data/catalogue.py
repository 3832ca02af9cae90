"""The items of a dataset of interactions as a file beside its splits: items.parquet, the most frequent item first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

ITEMS_FILE = "items.parquet"


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What models know of items, in the order of their numbers."""

    names: Sequence[str]
    counts: NDArray[np.int64]
    """[items], training interactions."""
    texts: Sequence[str | None] = ()
    """Of each item; empty where there are none."""


def write_items(directory: Path, items: Items) -> None:
    """Writes the file."""
    columns = {"item": pa.array(items.names, pa.string()), "count": pa.array(items.counts, pa.int64())}
    if len(items.texts):
        columns["text"] = pa.array(items.texts, pa.string())
    pq.write_table(pa.table(columns), directory / ITEMS_FILE, compression="zstd")


def read_items(directory: Path) -> Items | None:
    """The items of a directory; None where its dataset is not one of interactions."""
    path = directory / ITEMS_FILE
    if not path.is_file():
        return None
    table = pq.read_table(path)
    texts = table["text"].to_pylist() if "text" in table.column_names else []
    return Items(table["item"].to_pylist(), table["count"].to_numpy(), texts)
