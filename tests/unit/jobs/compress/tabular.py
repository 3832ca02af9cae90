"""Tables with missing values and categories, small models of them as they are exported, and artifacts of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch  # noqa: F401  LightGBM finds its OpenMP runtime

# isort: split
import lightgbm
from sklearn.neural_network import MLPRegressor

from kaon.api.report import Result
from kaon.contract.manifest import Column, ModelCard, Signature
from kaon_jobs.data.splits import Rows
from kaon_jobs.learn.tables.boosting import Trees
from kaon_jobs.learn.tables.columns import Layout
from kaon_jobs.learn.tables.graph import NUMBERS, Graph, table_graph
from kaon_jobs.learn.tables.preparation import Preparation
from kaon_jobs.measure.evaluation import quality_of
from kaon_jobs.measure.golden import golden_examples
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE, write_card
from kaon_jobs.predict.opening import open_model
from kaon_jobs.runtime.table import TableReader
from kaon_jobs.store.artifact import publish

Kind = Literal["trees", "network", "linear"]
COLUMNS = [
    Column(name="a", type="number"),
    Column(name="b", type="number"),
    Column(name="kind", type="category", categories=["red", "green", "blue"]),
    Column(name="day", type="datetime"),
]
CLASSES = ["low", "middle", "high"]
TIMES = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z"}
TASKS = {"number": "tabular-regression", "class": "tabular-classification"}


@dataclass(frozen=True)
class Table:
    """Splits of one table; the targets are numbers, or classes of them."""

    train: Rows
    validation: Rows
    test: Rows
    predicts: Literal["number", "class"]

    @property
    def labels(self) -> list[str]:
        return CLASSES if self.predicts == "class" else []


def table(predicts: Literal["number", "class"], rows: int = 1500, seed: int = 0) -> Table:
    """Rows whose number is a bent function of all columns, with some noise."""
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(2, rows))
    kind, month = draw.integers(3, size=rows), draw.integers(1, 13, size=rows)
    numbers = 100 + 20 * np.sin(2 * a) + 8 * a * (kind - 1) + 5 * b + month + draw.normal(scale=2, size=rows)
    missing = draw.random(rows) < 0.1
    inputs = [
        (float(a[row]), None if missing[row] else float(b[row]), CLASSES_OF_KIND[kind[row]], f"2024-{month[row]:02}-05")
        for row in range(rows)
    ]
    targets: Any = numbers
    if predicts == "class":
        targets = np.digitize(numbers, np.quantile(numbers, [0.3, 0.7])).astype(np.int64)
    ids = np.arange(rows, dtype=np.int64)
    ends = [0, int(0.5 * rows), int(0.7 * rows), rows]
    parts = [Rows(inputs[start:end], targets[start:end], ids[start:end]) for start, end in pairwise(ends)]
    return Table(*parts, predicts)


CLASSES_OF_KIND = ["red", "green", "blue"]


def reader() -> TableReader:
    return TableReader([column.wire() for column in COLUMNS])


def write_model(folder: Path, data: Table, kind: Kind) -> Path:
    """A model of the table in a folder, with its card and golden examples."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = max(1, len(data.labels))
    numbers = reader().numbers(data.train.inputs)
    graph = table_graph(reader().width)
    if kind == "trees":
        scores = _trees(data, numbers, graph)
    else:
        scores = _network(data, numbers, graph, stacked=kind == "network")
    name = "prediction" if outputs == 1 else "logits"
    onnx.save(
        graph.finished(graph.add("Gemm", scores, np.eye(outputs), np.zeros(outputs), name=name), outputs),
        folder / MODEL_FILE,
    )
    card = ModelCard(
        task=TASKS[data.predicts],
        labels=data.labels,
        columns=COLUMNS,
        signature=Signature(inputs=[], outputs=[]),
        serving_files=[MODEL_FILE, CARD_FILE],
    )
    write_card(folder, card)
    model = open_model(folder, 1)
    golden = golden_examples(model, data.test.inputs, data.test.targets)
    write_card(folder, card.model_copy(update={"golden": golden}))
    return folder


def _trees(data: Table, numbers: Any, graph: Graph) -> str:
    classes = len(data.labels)
    objective = {"objective": "multiclass", "num_class": classes} if classes else {"objective": "regression"}
    settings = {**objective, "num_leaves": 8, "learning_rate": 0.15, "verbosity": -1, "num_threads": 1, "seed": 1}
    half = np.arange(len(numbers)) % 2 == 0
    boosters = [
        lightgbm.train(
            settings,
            lightgbm.Dataset(
                numbers[part], data.train.targets[part], categorical_feature=[2], params={"verbosity": -1}
            ),
            num_boost_round=80,
        )
        for part in (half, ~half)
    ]
    fill = np.full(numbers.shape[1], np.nan, np.float32)
    return Trees(boosters, 80, fill, classes).add_to(graph, NUMBERS)


def _network(data: Table, numbers: Any, graph: Graph, *, stacked: bool) -> str:
    """Two nets side by side, or a sum of prepared numbers."""
    preparation = Preparation.of(numbers, Layout.of(COLUMNS), "standard")
    given = preparation.apply(numbers)
    classes = len(data.labels)
    targets = 8 * np.eye(classes)[data.train.targets] - 4 if classes else data.train.targets[:, None]
    prepared = preparation.add_to(graph, NUMBERS)
    middle, spread = targets.mean(axis=0), targets.std()
    if not stacked:
        with_one = np.hstack([given, np.ones((len(given), 1))])
        weights = np.linalg.lstsq(with_one, targets, rcond=None)[0]
        return graph.add("Gemm", prepared, weights[:-1], weights[-1])
    nets = [
        MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=60, random_state=seed).fit(
            given, ((targets - middle) / spread).squeeze()
        )
        for seed in (0, 1)
    ]
    values = prepared
    for layer in range(3):
        weights = np.stack([net.coefs_[layer] for net in nets])
        bias = np.stack([net.intercepts_[layer][None] for net in nets])
        values = graph.add("Add", graph.add("MatMul", values, weights), bias)
        values = values if layer == 2 else graph.add("Relu", values)
    mean = graph.add("ReduceMean", values, axes=[0], keepdims=0)
    return graph.add("Gemm", mean, np.eye(targets.shape[1]) * spread, middle)


def publish_dataset(shop: Any, data: Table, folder: Path) -> Result:
    """The dataset's artifact, its splits as the contract says."""
    folder.mkdir(parents=True)
    types = [pa.float64(), pa.float64(), pa.string(), pa.timestamp("us")]
    counts = {}
    for name in ("train", "validation", "test"):
        rows: Rows = getattr(data, name)
        counts[name] = len(rows)
        columns = [pa.array(list(values)) for values in zip(*rows.inputs, strict=True)]
        columns = [column.cast(kind) for column, kind in zip(columns, types, strict=True)]
        features = pa.StructArray.from_arrays(columns, [column.name for column in COLUMNS])
        target = {"target": pa.array(rows.targets, pa.float64())}
        if data.predicts == "class":
            named = [CLASSES[label] for label in rows.targets]
            target = {"label": pa.array(named), "label_id": pa.array(rows.targets, pa.int64())}
        source = pa.array(["a.csv"] * len(rows))
        pq.write_table(
            pa.table({"features": features, **target, "row_id": pa.array(rows.row_ids), "source": source}),
            folder / f"{name}.parquet",
        )
    work = shop.dataset_work(task=TASKS[data.predicts])
    work["schema"] = {
        "features": [{"name": column.name, "type": column.type} for column in COLUMNS],
        "label": {"name": "y"},
    }
    total = sum(counts.values())
    quality = {
        "rowsRead": total, "unreadable": 0, "unreadableRatio": 0, "missing": 0, "duplicates": 0, "missingRatio": 0,
        "duplicateRatio": 0, "leakage": 0, "leakageRemoved": 0, "minRowsPerClass": 0, "smallestClass": "",
    }  # fmt: skip
    found = {
        "rows": counts,
        "classes": data.labels,
        "features": work["schema"]["features"],
        "quality": quality,
    }
    job = shop.job("datasets", work, str(folder)).model_copy(update={"content": {}})
    result = Result.model_validate({**TIMES, "dataset": found})
    return publish(job, folder, kind="dataset", attempt="attempt-1", result=result)


def publish_model(shop: Any, data: Table, dataset: Result, kind: Kind, folder: Path) -> Result:
    """The artifact of a TrainingRun over the dataset."""
    assert dataset.artifact is not None
    write_model(folder, data, kind)
    model = open_model(folder, 1)
    figures = quality_of(model.card, data.test.targets, model.answers(data.test.inputs)).metrics
    evaluation = {
        "split": "test",
        "rows": len(data.test),
        "metrics": {name: figure.wire() for name, figure in figures.items()},
    }
    work = {**shop.train_work(dataset), "task": TASKS[data.predicts], "model": {"base": "builtin:linear"}}
    work["recipe"] = {}
    job = shop.job("trainingruns", work, str(folder)).model_copy(update={"content": {}})
    found = {**TIMES, "training": {"evaluation": evaluation, "datasetDigest": dataset.artifact.digest}}
    result = Result.model_validate(json.loads(json.dumps(found)))
    return publish(job, folder, kind="model", attempt="attempt-1", result=result, model=model.card)
