"""Image and table cases: a network of nets.py, trained with plain torch, exported, written for the contenders."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import nets
import numpy as np
import published
import torch
from cases import BUDGET, SEED, NetCase
from contract import MODEL_FILE, TORCH_FOLDER, Case, Rows, write_rows
from numpy.typing import NDArray
from scores import quality
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from kaon.contract.jobspec import InputArtifact
from kaon_jobs.data.splits import SPLITS, SplitName

INPUT = {"image": "image", "table": "features"}
TEST_SHARE, VALIDATION_SHARE = 0.3, 0.2
BATCH = 64
OPSET = 17


def write(name: str, case: NetCase, cache: Path, folder: Path, threads: int) -> Case:
    """Trains the network and writes the case's folder."""
    values, labels = case.data(cache)
    splits = divided(len(labels), labels)
    if case.kind == "table":
        values = scaled(values, splits["train"])
    classes = int(labels.max()) + 1
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    network = nets.build(name, classes, values.shape[-1])
    train, validation = ((values[splits[split]], labels[splits[split]]) for split in ("train", "validation"))
    fit(network, train, validation, case.epochs, case.learning_rate)
    (folder / TORCH_FOLDER).mkdir(parents=True)
    torch.save(network.state_dict(), folder / TORCH_FOLDER / nets.STATE_FILE)
    export(network, torch.from_numpy(values[:2]), INPUT[case.kind], folder / MODEL_FILE)
    for split, rows in splits.items():
        answers = predict(network, values[rows])
        write_rows(folder / f"{split}.npz", Rows({INPUT[case.kind]: values[rows]}, labels[rows], answers))
    made = Case(folder, name, case.kind, [str(one) for one in range(classes)], BUDGET, threads)
    made.write()
    return made


def publish(case: Case, store: Path) -> tuple[InputArtifact, InputArtifact]:
    """The artifacts of the network and of its data."""
    splits: dict[SplitName, published.Split] = {}
    for split in SPLITS:
        rows = case.rows(split)
        splits[split] = rows.inputs[INPUT[case.kind]], rows.labels
    data = published.dataset(store, case, splits)
    return published.model(store, case, data, splits["test"]), data


def divided(count: int, labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Row numbers of the three splits, each with the classes' shares of the whole."""
    rest, test = train_test_split(np.arange(count), test_size=TEST_SHARE, stratify=labels, random_state=SEED)
    train, validation = train_test_split(rest, test_size=VALIDATION_SHARE, stratify=labels[rest], random_state=SEED)
    return {"train": train, "validation": validation, "test": test}


def scaled(values: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each column with mean 0 and deviation 1 on the training rows."""
    mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
    return ((values - mean) / deviation).astype(np.float32)


def fit(
    network: nn.Module,
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
    epochs: int,
    learning_rate: float,
) -> None:
    """AdamW, one cycle of the learning rate; the weights of the epoch with the best validation accuracy are kept."""
    inputs, targets = torch.from_numpy(train[0]), torch.from_numpy(train[1])
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    batches = -(-len(targets) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * batches)
    best, kept = -1.0, copy.deepcopy(network.state_dict())
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(len(targets)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            schedule.step()
        answers = predict(network, validation[0])
        reached = quality(validation[1], answers, int(targets.max()) + 1).accuracy
        if reached > best:
            best, kept = reached, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    network.eval()


def predict(network: nn.Module, values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each row. Leaves the network in evaluation mode."""
    network.eval()
    with torch.no_grad():
        parts = [network(part).argmax(dim=1) for part in torch.from_numpy(values).split(256)]
    return torch.cat(parts).numpy()


def export(network: nn.Module, example: Tensor, name: str, path: Path) -> None:
    """One float32 ONNX file: rows in, scores out, any number of rows."""
    with torch.no_grad(), warnings.catch_warnings():
        # The tracing exporter announces its end; its graphs are those that every quantizer here knows.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=[name],
            output_names=["logits"],
            dynamic_axes={name: {0: "batch"}, "logits": {0: "batch"}},
        )
