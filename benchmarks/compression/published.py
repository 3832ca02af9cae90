"""Image and table cases as artifacts: what a Dataset and a TrainingRun of such a task would leave in the store.

There are no such tasks yet, so this writes the same files and manifests for a network that was trained elsewhere; the
compress stage reads them as it reads any others.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from contract import Case, Kind
from numpy.typing import NDArray
from stages import artifact, uri

from kaon.api.dataset import DataQuality
from kaon.api.dataset import Rows as RowCounts
from kaon.api.report import DatasetResult, Result, TrainingResult
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon.contract.manifest import ModelCard, Signature, TensorSpec
from kaon_jobs.context import now
from kaon_jobs.data.splits import SPLITS, SplitName, write_arrays
from kaon_jobs.measure.evaluation import measure
from kaon_jobs.measure.golden import golden_examples
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.opening import open_model
from kaon_jobs.store.artifact import publish

TASKS: dict[Kind, str] = {"image": "image-classification", "table": "tabular-classification"}

Split = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inputs, rows first, and the class of each row."""


def dataset(store: Path, case: Case, splits: Mapping[SplitName, Split]) -> InputArtifact:
    """The artifact of a case's three splits."""
    classes, source = case.labels, {"uri": f"file:///mnt/{case.name}"}
    work = {
        "stage": "dataset",
        "task": TASKS[case.kind],
        "sources": [source],
        "format": "arrays",
        "clean": {},
        "split": {},
    }
    work["schema"] = {"features": [{"name": "values"}], "label": {"name": "label"}}
    counts = {split: len(labels) for split, (_, labels) in splits.items()}
    support = np.bincount(splits["train"][1], minlength=len(classes))
    quality = DataQuality(
        rows_read=sum(counts.values()),
        missing=0,
        duplicates=0,
        missing_ratio=0,
        duplicate_ratio=0,
        leakage=0,
        min_rows_per_class=int(support.min()),
        smallest_class=classes[int(support.argmin())],
    )
    found = DatasetResult(rows=RowCounts(**counts), classes=classes, quality=quality)
    with tempfile.TemporaryDirectory() as folder:
        first = 0
        for split in SPLITS:
            values, labels = splits[split]
            write_arrays(Path(folder), split, values, labels, first)
            first += len(labels)
        return _published(store, "datasets", work, Path(folder), "dataset", Result(**_times(), dataset=found))


def model(store: Path, case: Case, trained_on: InputArtifact, test: Split) -> InputArtifact:
    """The artifact of a case's network with its evaluation on the test split."""
    work = {
        "stage": "train",
        "task": TASKS[case.kind],
        "dataset": trained_on.wire(),
        "model": {"base": f"file:///mnt/{case.name}"},
        "recipe": {},
        "checkpoint": {},
    }
    values, labels = test
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copyfile(case.model, folder / MODEL_FILE)
        card = ModelCard(
            task=TASKS[case.kind],
            labels=case.labels,
            signature=Signature(
                inputs=[TensorSpec(name="values", datatype="FP32", shape=[-1, *values.shape[1:]])],
                outputs=[TensorSpec(name="probabilities", datatype="FP32", shape=[-1, len(case.labels)])],
            ),
            serving_files=[MODEL_FILE],
        )
        _write_card(card, folder)
        golden = golden_examples(open_model(folder, case.threads), list(values), labels.tolist())
        card = card.model_copy(update={"golden": golden})
        _write_card(card, folder)
        evaluation = measure(folder, list(values), labels, split="test", threads=case.threads).evaluation
        result = Result(**_times(), training=TrainingResult(evaluation=evaluation, dataset_digest=trained_on.digest))
        return _published(store, "trainingruns", work, folder, "model", result, model=card)


def _write_card(card: ModelCard, folder: Path) -> None:
    (folder / CARD_FILE).write_text(json.dumps(card.wire()), encoding="utf-8")


def _times() -> dict[str, str]:
    return {"start_time": now(), "completion_time": now()}


def _published(
    store: Path, plural: str, work: dict[str, Any], folder: Path, kind: Any, result: Result, **more: Any
) -> InputArtifact:
    # What the files hold is part of what was declared: another training is another artifact.
    content = {path.name: digest_of(path.read_bytes().hex()) for path in sorted(folder.iterdir())}
    digest = digest_of({"work": work, "content": content})
    who = {"kind": plural, "namespace": "benchmark", "name": "benchmark", "uid": "0", "generation": 1}
    job = JobSpec.model_validate(
        {
            "provenance": {**who, "kaonVersion": "0", "image": "none"},
            "inputDigest": digest,
            "declaration": digest,
            "content": {},
            "output": {"uri": uri(store / plural)},
            "work": work,
        }
    )
    return artifact(publish(job, folder, kind=kind, attempt="published", result=result, **more))
