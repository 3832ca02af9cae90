"""What a TrainingRun does with a base model's folder before its training, on a few rows, without a store."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import TrainWork
from kaon.contract.manifest import ModelCard, Signature
from kaon_jobs.pretrained.budget import check_listing
from kaon_jobs.pretrained.folder import check_names
from kaon_jobs.pretrained.rehearsal import rehearse
from kaon_jobs.store.objectstore import Entry
from kaon_jobs.tasks.text_classification.encoder import prepare

from .builders import FAMILIES

LABELS = ["bird", "fish", "tree"]
TEXTS = ["the wing of a feather", "small reef near the old net", "leaf and bark", "one song that is some nest"] * 4
Damage = Callable[[Path], object]


def checked(
    folder: Path, texts: list[str] | None = None, **recipe: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The tokenizer and model that a training would begin with; raises StageFailure as the stage does."""
    work = TrainWork.model_validate(
        {
            "task": "text-classification",
            "dataset": {"uri": "file:///mnt/none", "digest": "sha256:none"},
            "model": {"base": f"file:///mnt{folder}"},
            "recipe": {"maxSequenceLength": 32, **recipe},
            "checkpoint": {},
        }
    )
    rows = TEXTS if texts is None else texts
    entries = [
        Entry(str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*") if path.is_file()
    ]
    check_listing(entries, work.model.base, Budgets())
    check_names(entries, work.model.base)
    tokenizer, model, _ = prepare(folder, work, LABELS, rows)
    card = ModelCard(
        task=work.task,
        labels=LABELS,
        max_sequence_length=work.recipe.max_sequence_length,
        signature=Signature(inputs=[], outputs=[]),
        serving_files=[],
    )
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch:
        rehearse(model, tokenizer, rows, work.recipe, card, Path(scratch) / "export", work.model.base)
    return tokenizer, model


def made(family: str, folder: Path, *damages: Damage) -> Path:
    """A base model's folder of a family, damaged."""
    FAMILIES[family](folder)
    for damage in damages:
        damage(folder)
    return folder


def config(**changes: Any) -> Damage:
    """Changes values of config.json; None removes one."""
    return json_values("config.json", **changes)


def json_values(name: str, **changes: Any) -> Damage:
    """Changes values of a JSON file; None removes one."""

    def change(folder: Path) -> None:
        values = {**json.loads((folder / name).read_text()), **changes}
        (folder / name).write_text(json.dumps({key: value for key, value in values.items() if value is not None}))

    return change


def weights(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Damage:
    """Writes the weights again, changed."""

    def write(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return write


def without(*names: str) -> Damage:
    """Removes files."""

    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return remove
