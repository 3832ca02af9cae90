"""Datasets of tables from end to end: what is cleaned and divided, what the artifact holds, and what its card tells."""

from __future__ import annotations

import csv
import hashlib
import json
import struct
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from kaon.api.dataset import Clean, Feature, Split
from kaon_jobs.data.cells import NO_TIME
from kaon_jobs.data.clean import clean, row_digests
from kaon_jobs.data.divide import divide
from kaon_jobs.data.profile import CHARTS, histogram, profile
from kaon_jobs.data.rows import Columns, Table
from kaon_jobs.data.splits import read_split
from kaon_jobs.errors import StageFailure

Make = Callable[..., Any]
NAN = float("nan")


def table(*rows: tuple[float, str | None, int, str | None], pinned: Sequence[str | None] = ()) -> Table:
    """Rows of (number, category, microseconds, class)."""
    features = [
        Feature(name="number", type="number"),
        Feature(name="category", type="category"),
        Feature(name="datetime", type="datetime"),
    ]
    made = Table(Columns(features, "label"))
    numbers, categories, moments, labels = zip(*rows, strict=True)
    made.features = [array("d", numbers), list(categories), array("q", moments)]
    made.labels = list(labels)
    made.pinned = list(pinned) or [None] * len(rows)
    made.files, made.numbers = ["file:///x.csv"] * len(rows), list(range(1, len(rows) + 1))
    return made


def rules(**changes: Any) -> Clean:
    return Clean.model_validate(changes)


EXACT = {"method": "exact"}


class TestCleaning:
    def test_a_missing_feature_is_left_to_the_model_and_a_row_without_any_is_not(self) -> None:
        rows = table((1, None, 5, "a"), (NAN, "x", NO_TIME, "a"), (NAN, None, NO_TIME, "a"), (1, "x", 5, None))
        found = clean(rows, rules())
        assert (found.kept, found.missing, found.lacks) == ([0, 1], [2, 3], "have no value in any feature")

    def test_rows_with_a_missing_feature_go_when_asked_to(self) -> None:
        rows = table((1, None, 5, "a"), (NAN, "x", 5, "a"), (1, "x", NO_TIME, "a"), (1, "x", 5, "a"))
        found = clean(rows, rules(missing="drop"))
        assert (found.kept, found.missing, found.lacks) == ([3], [0, 1, 2], "have a missing feature")

    def test_a_missing_value_fails_the_dataset_with_its_row_and_column_when_asked_to(self) -> None:
        rows = table((1, "x", 5, "a"), (1, None, 5, "a"), (1, "x", 5, None))
        with pytest.raises(StageFailure) as caught:
            clean(rows, rules(missing="fail"))
        assert caught.value.message == (
            "2 rows have a missing feature or no label, first file:///x.csv row 2, in the column 'category'. "
            "Fill them in, or set spec.clean.missing to keep or drop."
        )
        with pytest.raises(StageFailure, match=r"row 2, in the column 'label'\."):
            clean(table((1, "x", 5, "a"), (1, "x", 5, None)), rules(missing="fail"))

    def test_two_rows_may_be_alike(self) -> None:
        same = (1.0, "x", 5, "a")
        found = clean(table(same, same, (1.0, "x", 5, "b"), pinned=[None, "test", None]), rules())
        assert (found.kept, found.duplicates, found.leaked, found.conflicts) == ([0, 1, 2], [], [], [])
        assert len(set(found.keys.values())) == 3 and not found.compared

    def test_exact_drops_rows_that_are_equal_in_all_features(self) -> None:
        rows = table((1, "x", 5, "a"), (1, "x", 5, "b"), (1, "X", 5, "a"), (1, "x", 6, "a"), (2, "x", 5, "a"))
        found = clean(rows, rules(duplicates=EXACT))
        assert (found.kept, found.duplicates, found.conflicts) == ([0, 2, 3, 4], [1], [0])

    def test_exact_drops_training_rows_that_are_in_a_test_source(self) -> None:
        rows = table((1, "x", 5, "a"), (2, "x", 5, "b"), (1, "x", 5, "a"), pinned=["train", "train", "test"])
        found = clean(rows, rules(duplicates=EXACT))
        assert (found.kept, found.leaked) == ([1, 2], [0])

    def test_equal_numbers_are_equal_however_they_are_written_and_missing_ones_too(self) -> None:
        rows = table((0.0, None, 5, "a"), (-0.0, None, 5, "a"), (NAN, "x", 5, "a"), (-NAN, "x", 5, "a"))
        assert clean(rows, rules(duplicates=EXACT)).duplicates == [1, 3]

    def test_a_key_is_the_same_in_every_order_of_rows_and_on_every_machine(self) -> None:
        rows = [array("d", [1.5, NAN]), ["ü", None], array("q", [5, NO_TIME])]
        digests = list(row_digests(rows, alike=True))
        text = hashlib.blake2b("ü".encode(), digest_size=8).digest()
        words = [struct.pack("<d", 1.5) + text + struct.pack("<q", 5), struct.pack("<dqq", NAN, 0, NO_TIME)]
        assert digests == [hashlib.sha256(word).hexdigest()[:32] for word in words]
        assert list(row_digests([values[::-1] for values in rows], alike=True)) == digests[::-1]
        twice = list(row_digests([values * 2 for values in rows], alike=False))
        assert twice == [*digests, f"{digests[0]} 2", f"{digests[1]} 2"]


class TestDividing:
    def divide(self, targets: Sequence[float], **spec: Any) -> dict[str, list[int]]:
        rows = list(range(len(targets)))
        keys = {row: f"row {row}" for row in rows}
        labels = {row: float(target) for row, target in zip(rows, targets, strict=True)}
        return divide(rows, keys, labels, dict.fromkeys(rows), Split(**spec), str)

    def test_splits_of_numbers_have_about_the_same_quantiles(self) -> None:
        targets = np.random.default_rng(3).lognormal(size=500)
        divided = self.divide(targets)
        assert {split: len(rows) for split, rows in divided.items()} == {"train": 360, "validation": 40, "test": 100}
        tenths = np.searchsorted(np.quantile(targets, np.arange(0.1, 1, 0.1)), targets)
        counted = Counter(tenths[divided["test"]].tolist())
        assert set(counted) == set(range(10)) and all(9 <= count <= 11 for count in counted.values())

    @pytest.mark.parametrize("count", [4, 7, 15, 30, 33])
    def test_few_rows_keep_the_shares(self, count: int) -> None:
        divided = self.divide(range(count))
        assert sorted(row for rows in divided.values() for row in rows) == list(range(count))
        assert len(divided["test"]) == max(1, round(0.2 * count))
        assert divided["train"] and divided["validation"]

    def test_rows_with_one_and_the_same_number_are_divided_as_others(self) -> None:
        divided = self.divide([0.0] * 90 + [1.0] * 10)
        assert len(divided["test"]) == 20
        assert sum(row >= 90 for row in divided["test"]) == 2

    def test_without_stratification_the_draw_looks_at_no_number(self) -> None:
        drawn = self.divide(range(100), stratify=False)
        assert drawn == self.divide(range(100, 0, -1), stratify=False)

    def test_one_row_is_no_dataset(self) -> None:
        with pytest.raises(StageFailure, match=r"a share of 0\.2 of 1 rows is none") as caught:
            self.divide([1.0])
        assert caught.value.reason == "TestSplitEmpty"


class TestProfiles:
    def test_far_values_do_not_leave_all_others_in_one_bin(self) -> None:
        edges, counts = histogram(np.array([*range(1000), 10**9], np.float64))
        assert sum(counts) == 1001 and max(counts) < 60
        assert edges[-1] < 1000

    @pytest.mark.parametrize("values", [[], [3.0], [3.0] * 10, [0.0] * 999 + [1.0], [-3.4e38, 3.4e38]])
    def test_every_value_is_counted(self, values: list[float]) -> None:
        edges, counts = histogram(np.array(values))
        assert sum(counts) == len(values) and len(edges) == len(counts) + 1
        assert np.isfinite(edges).all()

    def test_rare_categories_are_counted_together(self) -> None:
        values: list[str | None] = [f"c{number}" for number in range(500)]
        values += ["often"] * 50 + [None] * 50
        rows = range(len(values))
        made = profile("x", "category", values, rows, rows)
        assert (made.missing, made.figures["distinct"], made.figures["others"]) == (0.083333, 501, 481)
        assert next(iter(made.figures["values"].items())) == ("often", 50)
        assert len(made.baseline["values"]) == 100 and made.baseline["others"] == 401

    @pytest.mark.parametrize(
        ("kind", "values", "constant"),
        [
            ("number", array("d", [1, 1, NAN]), True),
            ("number", array("d", [NAN] * 3), True),
            ("number", array("d", [1, 2, NAN]), False),
            ("category", ["a", None, "a"], True),
            ("category", ["a", None, "b"], False),
            ("datetime", array("q", [NO_TIME] * 3), True),
            ("datetime", array("q", [5, NO_TIME, 6]), False),
        ],
    )
    def test_a_column_that_tells_nothing_is_known(self, kind: str, values: Any, constant: bool) -> None:
        made = profile("x", kind, values, range(3), range(3))
        assert made.is_constant is constant
        assert made.sentence() and made.chart().startswith("<svg")
        json.dumps([made.card(), made.drift()], allow_nan=False)


# -- whole stages --------------------------------------------------------------------------------------------------


def write(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def refusal(make: Make, *sources: Any, **changes: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        make(*sources, **changes)
    assert not caught.value.retriable
    return caught.value


def columns(names: Sequence[str], kind: str = "number", label: str = "target") -> dict[str, Any]:
    return {"features": [{"name": name, "type": kind} for name in names], "label": {"name": label}}


def test_a_data_set_of_classes_is_read_cleaned_and_divided(make: Make, tmp_path: Path) -> None:
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    labels = [str(data.target_names[target]) for target in data.target]
    write(tmp_path / "x.csv", [*names, "target"], [[*row, y] for row, y in zip(data.data, labels, strict=True)])
    made = make("x.csv", task="tabular-classification", schema=columns(names))
    found = made.result.dataset
    assert found.classes == ["benign", "malignant"]
    assert [feature.name for feature in found.features] == names
    assert found.rows.model_dump() == {"train": 365, "validation": 91, "test": 113}
    assert (found.quality.leakage, found.quality.missing, found.quality.smallest_class) == (0, 0, "malignant")
    out = tmp_path / ".work" / "dataset"
    seen: set[int] = set()
    for split in ("train", "validation", "test"):
        rows = read_split(out, split)
        seen |= set(rows.row_ids.tolist())
        assert np.array_equal(np.array(rows.inputs), data.data[rows.row_ids])
        assert [found.classes[target] for target in rows.targets] == [labels[row] for row in rows.row_ids]
    assert len(seen) == 569
    assert made.card["classCounts"]["train"]["malignant"] == found.quality.min_rows_per_class
    assert [one["name"] for one in made.card["features"]] == names
    assert all(sum(one["counts"]) == 365 for one in made.card["baseline"]["features"])
    assert "mean radius (number)" in made.page and "features also stand" not in made.page


def test_a_data_set_of_numbers_is_read_cleaned_and_divided(make: Make, tmp_path: Path) -> None:
    data = load_diabetes(scaled=False)
    names = list(data.feature_names)
    pq.write_table(
        pa.table({**dict(zip(names, data.data.T, strict=True)), "target": data.target}), tmp_path / "x.parquet"
    )
    made = make("x.parquet", task="tabular-regression", schema=columns(names))
    found = made.result.dataset
    assert found.classes == [] and found.rows.model_dump() == {"train": 283, "validation": 71, "test": 88}
    assert found.quality.min_rows_per_class is None and found.quality.smallest_class is None
    file = pq.read_schema(tmp_path / ".work" / "dataset" / "test.parquet")
    assert file.names == ["features", "target", "row_id", "source"]
    rows = read_split(tmp_path / ".work" / "dataset", "test")
    assert rows.targets.dtype == np.float64
    assert np.array_equal(rows.targets, data.target[rows.row_ids])
    assert np.array_equal(np.array(rows.inputs), data.data[rows.row_ids])
    assert abs(np.median(rows.targets) - np.median(data.target)) < 15
    assert made.card["target"]["quantiles"]["1"] == data.target.max()
    assert sum(made.card["baseline"]["target"]["counts"]) == 283
    assert not {"classes", "classCounts"} & made.card.keys() and "classShares" not in made.card["baseline"]
    assert "target: 25 to 346, median 140" in made.page and "smallest class" not in made.page


MIXED = {
    "features": [
        {"name": "age", "type": "number"},
        {"name": "town", "type": "category"},
        {"name": "since", "type": "datetime"},
    ],
    "label": {"name": "label"},
}


def mixed(count: int = 60) -> list[list[Any]]:
    """Rows of all types with missing values and quirks."""
    return [
        [
            "" if number % 10 == 3 else f" {number}.5",
            "" if number % 7 == 3 else f"town {number % 5}",
            "" if number % 6 == 3 else f"2026-01-{1 + number % 28:02}T0{number % 10}:00:00+02:00",
            "ab"[number % 2],
        ]
        for number in range(count)
    ]


def test_all_types_and_missing_values_are_written_as_they_are(make: Make, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", ["age", "town", "since", "label"], [*mixed(), ["", "", "", "a"], ["1", "x", "", ""]])
    made = make("x.csv", task="tabular-classification", schema=MIXED)
    quality = made.result.dataset.quality
    assert (quality.missing, quality.rows_read, quality.unreadable) == (3, 62, 0)
    out = tmp_path / ".work" / "dataset"
    file = pq.read_schema(out / "train.parquet")
    assert file.field("features").type == pa.struct(
        {"age": pa.float64(), "town": pa.string(), "since": pa.timestamp("us")}
    )
    by_row: dict[int, Any] = {}
    for split in ("train", "validation", "test"):
        rows = read_split(out, split)
        by_row.update(zip(rows.row_ids.tolist(), rows.inputs, strict=True))
    assert by_row[0] == (0.5, "town 0", "2025-12-31T22:00:00.000000")
    assert by_row[13] == (None, "town 3", "2026-01-14T01:00:00.000000")
    assert sorted(set(range(62)) - by_row.keys()) == [3, 60, 61]
    assert made.card["removed"]["missing"]["rows"] == 3
    assert "rows that have no value in any feature or no label" in made.page


def test_what_cleaning_took_is_told_with_the_words_of_tables(make: Make, tmp_path: Path) -> None:
    names = ["age", "town", "since", "label"]
    row = ["1", "x", "2026-01-01", "a"]
    write(tmp_path / "x.csv", names, [row, row, ["", "x", "2026-01-01", "b"], ["2", "x", "2026-01-02", ""]])
    clean_rules = {"missing": "drop", "duplicates": EXACT}
    message = refusal(make, "x.csv", task="tabular-classification", schema=MIXED, clean=clean_rules).message
    path = f"file:///mnt{tmp_path}/x.csv"
    assert message.startswith(
        f"Of 4 rows, 1 repeat the features of an earlier row (first: {path} row 2), 1 have no label (first: {path} row "
        f"4) and 1 have a missing feature (first: {path} row 3); these were left out."
    )


def test_equal_rows_in_train_and_test_are_told_with_the_words_of_tables(make: Make, tmp_path: Path) -> None:
    names = ["age", "town", "since", "label"]
    write(tmp_path / "x.csv", names, mixed(20)[4:])
    sources = [{"name": "x.csv", "split": "train"}, {"name": "y.csv", "split": "test"}]
    write(tmp_path / "y.csv", names, mixed(20)[4:])
    task = {"task": "tabular-classification", "schema": MIXED}
    message = refusal(make, *sources, **task, clean={"duplicates": EXACT}).message
    assert "All 16 training rows stand in the test source" in message and "has the features of" in message


@pytest.mark.parametrize("task", ["tabular-classification", "tabular-regression"])
def test_one_and_the_same_label_is_nothing_to_learn(make: Make, tmp_path: Path, task: str) -> None:
    write(tmp_path / "x.csv", ["x", "target"], [[number, "7.0"] for number in range(30)])
    failure = refusal(make, "x.csv", task=task, schema=columns(["x"]))
    assert failure.reason == ("TargetConstant" if task == "tabular-regression" else "TooFewClasses")
    assert "one and the same label" in failure.message


def test_a_test_source_without_labels_is_named(make: Make, tmp_path: Path) -> None:
    write(tmp_path / "x.csv", ["x", "target"], [[number, number] for number in range(30)])
    write(tmp_path / "y.csv", ["x", "target"], [[number, ""] for number in range(5)])
    sources = [{"name": "x.csv", "split": "train"}, {"name": "y.csv", "split": "test"}]
    failure = refusal(make, *sources, task="tabular-regression", schema=columns(["x"]))
    assert failure.reason == "TestLabelsMissing"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([f"name {number}" for number in range(3000)], "different values in the training rows, the longest of 9 char"),
        (["x" * 300] * 30, "has 1 different values in the training rows, the longest of 300 characters"),
    ],
)
def test_a_column_of_names_is_no_category(make: Make, tmp_path: Path, values: list[str], told: str) -> None:
    write(tmp_path / "x.csv", ["who", "target"], [[value, at % 7] for at, value in enumerate(values)])
    failure = refusal(make, "x.csv", task="tabular-classification", schema=columns(["who"], "category"))
    assert failure.reason == "TooManyCategories"
    assert "The column 'who' has " in failure.message and told in failure.message
    assert "Leave it out of spec.schema.features" in failure.message
    assert "name " not in failure.message and "xxx" not in failure.message


def test_columns_that_tell_little_are_worth_a_look(make: Make, tmp_path: Path) -> None:
    rows = [[number, 1, "" if number % 3 else number, number % 2] for number in range(40)]
    write(tmp_path / "x.csv", ["x", "constant", "rare", "target"], rows)
    made = make("x.csv", task="tabular-classification", schema=columns(["x", "constant", "rare"]))
    assert "columns with one value or none in the training rows</td><td class=n>1</td><td>constant" in made.page
    assert "columns of which more than half is missing</td><td class=n>1</td><td>rare" in made.page


def test_a_page_of_many_columns_stays_small(make: Make, tmp_path: Path) -> None:
    names = [f"{number:03}" + "ü" * 120 for number in range(256)]
    rows = [[*((number * at) % 97 for at in range(256)), number] for number in range(60)]
    write(tmp_path / "x.csv", [*names, "target"], rows)
    made = make("x.csv", task="tabular-regression", schema=columns(names))
    assert len(made.page) < 400_000
    assert f"rows of the first {CHARTS} of 256 columns; card.json has the figures of all." in made.page
    assert len(made.card["features"]) == len(made.card["baseline"]["features"]) == 256


def test_the_same_table_gives_the_same_bytes_whatever_its_format(make: Make, tmp_path: Path) -> None:
    names = ["age", "town", "since", "label"]
    write(tmp_path / "x.csv", names, mixed())
    first = make("x.csv", task="tabular-classification", schema=MIXED)
    before = {path.name: path.read_bytes() for path in (tmp_path / ".work" / "dataset").glob("*.parquet")}
    (tmp_path / ".work").rename(tmp_path / ".before")
    objects = [{name: value.strip() or None for name, value in zip(names, row, strict=True)} for row in mixed()]
    (tmp_path / "x.csv").write_text(json.dumps(objects))
    again = make("x.csv", task="tabular-classification", schema=MIXED, format="json")
    after = {path.name: path.read_bytes() for path in (tmp_path / ".work" / "dataset").glob("*.parquet")}
    assert before == after and first.card["features"] == again.card["features"]
