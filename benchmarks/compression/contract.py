"""What every contender is given and what it leaves: two folders of plain files. Needs numpy alone.

Given (the case): case.json; model.onnx, the fp32 baseline; torch/, its torch form; train.npz, validation.npz, test.npz:
one array a model input (rows first, texts padded to the full length), `label`, and `baseline`, the class that the
baseline predicts for each row. Left: the model's files and result.json. A contender of another project runs in an
environment of its own, as `python -m peers.NAME CASE OUT`.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scores import Budget, Ids, quality, spent

CASE_FILE = "case.json"
MODEL_FILE = "model.onnx"
RESULT_FILE = "result.json"
TORCH_FOLDER = "torch"
MASK = "attention_mask"
OWN_TEST_FILE = "test.npz"
"""In a contender's folder: the test split as its own tokenizer reads it, where that has changed."""

Kind = Literal["text", "image", "table"]
Runtime = Literal["onnxruntime", "openvino", "torch"]
Feed = dict[str, NDArray[Any]]


class NotPossible(Exception):
    """This contender cannot do this case; the message says why and stands in the table."""


@dataclass(frozen=True, slots=True)
class Rows:
    """One split: the model's inputs, the true classes, the baseline's."""

    inputs: Feed
    labels: Ids
    baseline: Ids

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, rows: Sequence[int]) -> Rows:
        """These rows alone."""
        chosen = np.asarray(rows, dtype=np.int64)
        inputs = {name: values[chosen] for name, values in self.inputs.items()}
        return Rows(inputs, self.labels[chosen], self.baseline[chosen])

    def feed(self, row: int, *, fixed_length: bool = False) -> Feed:
        """The inputs of one row as a batch of one: a text without its padding, unless the length is to be fixed."""
        batch = {name: values[row : row + 1] for name, values in self.inputs.items()}
        if MASK not in batch or fixed_length:
            return batch
        length = int(batch[MASK].sum())
        return {name: values[:, :length] for name, values in batch.items()}

    def feeds(self, rows: range | None = None, *, fixed_length: bool = False) -> Iterator[Feed]:
        """One batch of one after the other."""
        for row in range(len(self)) if rows is None else rows:
            yield self.feed(row, fixed_length=fixed_length)


@dataclass(frozen=True, slots=True)
class Case:
    """A model, its data and what may be lost."""

    folder: Path
    name: str
    kind: Kind
    labels: list[str]
    budget: Budget
    threads: int
    served_with: list[str] = field(default_factory=list)
    """Files beside the model that serving needs whoever made it (a tokenizer); they count as size."""

    @property
    def model(self) -> Path:
        """The fp32 baseline."""
        return self.folder / MODEL_FILE

    @property
    def torch_form(self) -> Path:
        """The baseline as torch has it: a Hugging Face folder of a text, state.pt of the networks in nets.py."""
        return self.folder / TORCH_FOLDER

    def rows(self, split: Literal["train", "validation", "test"]) -> Rows:
        """One split."""
        return read_rows(self.folder / f"{split}.npz")

    def write(self) -> None:
        """Writes case.json."""
        document = {name: value for name, value in asdict(self).items() if name != "folder"}
        (self.folder / CASE_FILE).write_text(json.dumps(document, indent=1), encoding="utf-8")

    def validation_score(self, rows: Rows, predicted: Ids) -> float:
        """One number for tools that watch one: 1 for the baseline's own quality, at least 0.99 while both budgets hold.

        It lets a tool that accepts a single metric with a tolerated loss of 0.01 respect the whole budget.
        """
        classes = len(self.labels)
        used = spent(
            self.budget, quality(rows.labels, rows.baseline, classes), quality(rows.labels, predicted, classes)
        )
        return 1.0 - 0.01 * used


@dataclass(frozen=True, slots=True)
class Made:
    """What a contender made."""

    did: str
    """In words for the table's notes."""
    runtime: Runtime = "onnxruntime"
    model: str = MODEL_FILE
    """The file that the runtime loads, inside the contender's folder."""
    files: tuple[str, ...] = (MODEL_FILE,)
    """What has to be kept to serve it; their bytes are its size."""
    fixed_length: bool = False
    """Texts have to come padded to the full length."""
    complete: bool = False
    """`files` hold the case's `served_with` too, in a form of their own."""


@dataclass(frozen=True, slots=True)
class Result:
    """result.json: what was made, or why nothing was."""

    seconds: float
    software: str
    made: Made | None = None
    failure: str | None = None


def read_case(folder: Path) -> Case:
    """The case in a folder."""
    document = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
    return Case(folder=folder, **{**document, "budget": Budget(**document["budget"])})


def read_rows(file: Path) -> Rows:
    """One split's arrays."""
    with np.load(file) as arrays:
        inputs = {name: arrays[name] for name in arrays.files if name not in ("label", "baseline")}
        return Rows(inputs, arrays["label"], arrays["baseline"])


def write_rows(file: Path, rows: Rows) -> None:
    """The arrays of one split."""
    arrays: dict[str, Any] = {**rows.inputs, "label": rows.labels, "baseline": rows.baseline}
    np.savez_compressed(file, **arrays)


def read_result(folder: Path) -> Result:
    """What a contender left."""
    document = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    made = document.pop("made")
    return Result(**document, made=None if made is None else Made(**{**made, "files": tuple(made["files"])}))


def write_result(folder: Path, result: Result) -> None:
    """result.json of a contender."""
    (folder / RESULT_FILE).write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


def timed(compress: Callable[[Case, Path], Made], case: Case, out: Path, software: str) -> Result:
    """Runs a contender. Whatever it raises is its result: one that fails must not end the benchmark of the others."""
    start = time.monotonic()
    try:
        made, failure = compress(case, out), None
    except NotPossible as reason:
        made, failure = None, str(reason)
    except Exception as error:
        traceback.print_exc()
        made, failure = (
            None,
            f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}",
        )
    return Result(round(time.monotonic() - start, 1), software, made, failure)


def main(compress: Callable[[Case, Path], Made], *packages: str) -> None:
    """A peer's command line: CASE OUT. `packages` are those whose versions are told."""
    case, out = read_case(Path(sys.argv[1])), Path(sys.argv[2])
    software = ", ".join(f"{package} {version(package)}" for package in packages)
    write_result(out, timed(compress, case, out, software))
