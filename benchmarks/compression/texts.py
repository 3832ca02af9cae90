"""Text cases: Kaon's own stages make dataset and model; what the contenders get is written from their artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from cases import BUDGET, SEED, TextCase
from contract import MASK, MODEL_FILE, TORCH_FOLDER, Case, Feed, Rows, write_rows
from sources import minilm
from stages import Stages, artifact, uri

from kaon.contract.jobspec import InputArtifact
from kaon_jobs.data.splits import SPLITS, fetch_dataset, read_split
from kaon_jobs.predict.onnx_model import CARD_FILE
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, OnnxTextModel
from kaon_jobs.store.artifact import fetch

PARQUET_FOLDER = "parquet"
TORCH_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def train(case: TextCase, stages: Stages, cache: Path) -> tuple[InputArtifact, InputArtifact]:
    """The artifacts of the trained model and of its dataset."""
    files = case.csv(cache)
    dataset = artifact(
        stages.run(
            "datasets",
            {
                "stage": "dataset",
                "task": "text-classification",
                "sources": [{"uri": uri(files[split]), "split": split} for split in ("train", "test")],
                "format": "csv",
                "schema": {"features": [{"name": "text", "type": "text"}], "label": {"name": "label"}},
                "clean": {},
                "split": {"validation": 0.1, "seed": SEED},
            },
        )
    )
    work: dict[str, Any] = {
        "stage": "train",
        "task": "text-classification",
        "dataset": dataset.wire(),
        "model": {"base": uri(minilm(cache))},
        "recipe": dict(case.recipe),
        "checkpoint": {},
    }
    return artifact(stages.run("trainingruns", work)), dataset


def write(name: str, model: InputArtifact, dataset: InputArtifact, folder: Path, threads: int) -> Case:
    """The case's folder, from two artifacts."""
    fetched = fetch(
        model,
        folder / TORCH_FOLDER,
        kinds={"model"},
        only=lambda manifest: _wanted([file.path for file in manifest.files]),
    )
    card = fetched.manifest.model
    assert card is not None
    for file in (MODEL_FILE, CARD_FILE):
        (folder / TORCH_FOLDER / file).rename(folder / file)
    shutil.copyfile(folder / TORCH_FOLDER / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    fetch_dataset(dataset, folder / PARQUET_FOLDER)
    classifier = OnnxTextModel(folder, threads)
    for split in SPLITS:
        write_rows(folder / f"{split}.npz", encoded(classifier, folder / PARQUET_FOLDER, split))
    case = Case(folder, name, "text", card.labels, BUDGET, threads, [TOKENIZER_FILE, CARD_FILE])
    case.write()
    return case


def encoded(classifier: OnnxTextModel, parquet: Path, split: Any) -> Rows:
    """A split as the classifier's own tokenizer reads it, padded to the full length, with the classifier's answers."""
    rows = read_split(parquet, split)
    length = classifier.card.max_sequence_length
    assert length is not None
    inputs: Feed = {}
    for name, values in classifier.encode(rows.inputs).items():
        fill = 0 if name != "input_ids" else _padding(classifier)
        inputs[name] = np.pad(values, ((0, 0), (0, length - values.shape[1])), constant_values=fill)
    assert MASK in inputs, "without a mask nobody can tell a text from its padding"
    answers = classifier.answers(rows.inputs).argmax(axis=1)
    return Rows(inputs, rows.targets, np.asarray(answers, dtype=np.int64))


def _padding(classifier: OnnxTextModel) -> int:
    found = classifier.tokenizer.padding
    assert found is not None
    return int(found["pad_id"])


def _wanted(files: list[str]) -> list[str]:
    return [name for name in files if name in {MODEL_FILE, CARD_FILE, *TORCH_FILES}]
