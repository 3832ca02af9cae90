"""A text encoder as a TrainingRun trains it beside a plain Trainer script, on the same rows, in one run.

    python benchmarks/tasks/texts.py [--seeds 3] [--epochs 3] [--only r8] [--cache FOLDER]

Both get the same epochs, batch size and learning rate. The plain script learns from the rows of the validation split
too. Data and weights come out of packages by hash (requirements/data.lock), and are not part of the project.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from kaon.contract.signing import ROOT_KEY_BYTES, domain_key
from kaon_jobs.machine import cpu_limit
from kaon_jobs.store.objectstore import CLAIMS_VARIABLE
from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS.parent / "hack"), str(BENCHMARKS / "compression")]
from demo import data  # noqa: E402  of the examples
from stages import Stages, artifact, uri  # noqa: E402

TOKENS, BATCH, LEARNING_RATE = 64, 32, 1.5e-4
VALIDATION = 0.1
Figures = tuple[float, float]
"""Accuracy and macro-F1 on the test rows."""


def main() -> None:
    """Prints a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", choices=("r8", "reviews"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "kaon")
    args = parser.parse_args()
    torch.set_num_threads(cpu_limit())
    found = data.fetch(args.cache.absolute())
    for name, folder in {"r8": found.r8, "reviews": found.reviews}.items():
        if args.only in (None, name):
            files = {split: folder / f"{split}.csv" for split in ("train", "test")}
            _contest(name, files, found.minilm, args.seeds, args.epochs)


def _contest(name: str, files: Mapping[str, Path], encoder: Path, seeds: int, epochs: int) -> None:
    train, test = (_rows(files[split]) for split in ("train", "test"))
    print(f"\n{name}: {len(train):,} rows to learn from, {len(test):,} test rows, {seeds} seeds, {epochs} epochs")
    linear: list[Figures] = []
    contenders: dict[str, Callable[[int], Figures]] = {
        "plain Trainer script": lambda seed: _plain(encoder, train, test, seed, epochs),
        "TrainingRun": lambda seed: _kaon(encoder, files, seed, epochs, linear),
    }
    print("| model | accuracy | macro-F1 | seconds |\n| --- | --- | --- | --- |")
    for title, figures in contenders.items():
        reached, seconds = [], []
        for seed in range(seeds):
            start = time.perf_counter()
            reached.append(figures(seed))
            seconds.append(time.perf_counter() - start)
        _line(title, reached, f"{np.mean(seconds):.0f}")
    _line("the linear model that stands beside each TrainingRun", linear, "")


def _line(title: str, reached: Sequence[Figures], seconds: str) -> None:
    cells = [f"{np.mean(column):.4f} ± {np.std(column):.4f}" for column in zip(*reached, strict=True)]
    print(f"| {title} | {' | '.join(cells)} | {seconds} |", flush=True)


def _plain(
    encoder: Path, train: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]], seed: int, epochs: int
) -> Figures:
    """What anybody would write."""
    set_seed(seed)
    classes = sorted({label for _, label in train})
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=len(classes))

    def encoded(rows: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        read = tokenizer([text for text, _ in rows], truncation=True, max_length=TOKENS)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": classes.index(label)}
            for ids, mask, (_, label) in zip(read["input_ids"], read["attention_mask"], rows, strict=True)
        ]

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=BATCH, learning_rate=LEARNING_RATE,
            seed=seed, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        collator = DataCollatorWithPadding(tokenizer)
        trainer = Trainer(model=model, args=arguments, train_dataset=encoded(train), data_collator=collator)
        trainer.train()
        said = trainer.predict(encoded(test)).predictions.argmax(axis=1)
    truth = [classes.index(label) for _, label in test]
    return float(accuracy_score(truth, said)), float(f1_score(truth, said, average="macro"))


def _kaon(encoder: Path, files: Mapping[str, Path], seed: int, epochs: int, linear: list[Figures]) -> Figures:
    """The dataset and the train stage, as pods run them. Their linear baseline goes to `linear`."""
    task = "text-classification"
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {CLAIMS_VARIABLE: "/", TRUST_VARIABLE: f"{folder}/trust"}
        write_keys(Path(folder) / "trust", domain_key(bytes(ROOT_KEY_BYTES), "benchmark"))
        stages = Stages(Path(folder) / "store", Path(folder) / "log")
        dataset = stages.run(
            "datasets",
            {
                "stage": "dataset",
                "task": task,
                "sources": [{"uri": uri(files[split]), "split": split} for split in ("train", "test")],
                "format": "csv",
                "schema": {"features": [{"name": "text", "type": "text"}], "label": {"name": "label"}},
                "clean": {},
                "split": {"validation": VALIDATION, "seed": seed},
            },
        )
        recipe = {"epochs": epochs, "batchSize": BATCH, "learningRate": LEARNING_RATE, "maxSequenceLength": TOKENS}
        work = {"stage": "train", "task": task, "dataset": artifact(dataset).wire(), "model": {"base": uri(encoder)}}
        trained = stages.run("trainingruns", {**work, "recipe": {**recipe, "seed": seed}, "checkpoint": {}})
    assert trained.training is not None
    found = trained.training.evaluation
    assert found.baseline is not None
    metrics = found.baseline.metrics
    linear.append((metrics["accuracy"].value, metrics["macroF1"].value))
    return _value(found.value("accuracy")), _value(found.value("macroF1"))


def _value(value: float | None) -> float:
    assert value is not None
    return value


def _rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return [(row["text"], row["label"]) for row in csv.DictReader(lines)]


if __name__ == "__main__":
    main()
