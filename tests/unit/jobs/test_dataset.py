"""The dataset stage: what is read, what goes and why, who lands in which split, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kaon.api.dataset import Clean, Split
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon_jobs.context import Context
from kaon_jobs.data.card import length_histogram
from kaon_jobs.data.causes import check_left
from kaon_jobs.data.clean import clean, normalised
from kaon_jobs.data.divide import divide
from kaon_jobs.data.rows import Table
from kaon_jobs.data.splits import fetch_dataset, read_split
from kaon_jobs.errors import StageFailure
from kaon_jobs.programs import dataset as stage


def table(*rows: tuple[str | None, str | None] | tuple[str | None, str | None, str | None]) -> Table:
    """Rows of (text, label) or (text, label, split of the source)."""
    made = Table()
    for number, row in enumerate(rows, start=1):
        made.texts.append(row[0])
        made.labels.append(row[1])
        made.pinned.append(row[2] if len(row) == 3 else None)
        made.files.append("file:///x.csv")
        made.numbers.append(number)
    return made


class TestCleaning:
    def test_texts_are_compared_without_case_white_space_or_composition(self) -> None:
        assert normalised("  Caf\u00e9\n au  LAIT ") == normalised("cafe\u0301 au lait")

    def test_rows_that_repeat_go_and_the_first_one_stays(self) -> None:
        found = clean(table(("a", "x"), ("A ", "x"), ("b", "x"), ("a", "y")), Clean())
        assert (found.kept, found.duplicates) == ([0, 2], [1, 3])

    def test_a_text_with_two_labels_is_told(self) -> None:
        assert clean(table(("a", "x"), ("b", "x"), ("a", "y")), Clean()).conflicts == [0]

    def test_rows_without_text_or_label_go(self) -> None:
        found = clean(table((None, "x"), ("a", None), ("b", "x")), Clean())
        assert (found.kept, found.missing) == ([2], [0, 1])

    def test_missing_values_fail_the_dataset_when_asked_to(self) -> None:
        with pytest.raises(StageFailure, match=r"1 rows have no text or no label, first file:///x.csv row 2") as caught:
            clean(table(("a", "x"), (None, "x")), Clean(missing="fail"))
        assert caught.value.reason == "MissingValues"

    def test_a_text_of_the_test_source_is_never_trained_on(self) -> None:
        found = clean(table(("a", "x", "train"), ("b", "x", "train"), ("B", "x", "test")), Clean())
        assert (found.kept, found.leaked, found.duplicates) == ([0, 2], [1], [])

    def test_duplicates_may_be_kept(self) -> None:
        rules = Clean.model_validate({"duplicates": {"method": "none"}})
        assert clean(table(("a", "x"), ("a", "x")), rules).kept == [0, 1]

    def test_nothing_left_is_no_dataset(self) -> None:
        rows = table((None, "x"), ("a", None))
        with pytest.raises(StageFailure, match=r"No row is left.*1 have no label.*1 have no text") as caught:
            check_left(rows, clean(rows, Clean()))
        assert caught.value.reason == "SourceEmpty"


class TestDividing:
    def divide(self, labels: str, pinned: dict[int, str | None] | None = None, **spec: Any) -> dict[str, list[int]]:
        rows = range(len(labels))
        keys = {row: f"text {row}" for row in rows}
        sides = {row: (pinned or {}).get(row) for row in rows}
        return divide(list(rows), keys, dict(enumerate(labels)), sides, Split(**spec), lambda row: f"row {row + 1}")

    def test_every_row_lands_in_exactly_one_split(self) -> None:
        divided = self.divide("ab" * 50)
        assert sorted(row for rows in divided.values() for row in rows) == list(range(100))
        assert {split: len(rows) for split, rows in divided.items()} == {"train": 72, "validation": 8, "test": 20}

    def test_classes_keep_their_shares_and_a_rare_one_is_everywhere(self) -> None:
        labels = "a" * 200 + "b" * 40 + "c" * 3
        divided = self.divide(labels)
        for split, share in (("validation", 0.08), ("test", 0.2)):
            counts = Counter(labels[row] for row in divided[split])
            assert counts["a"] == pytest.approx(200 * share, abs=1)
            assert counts["b"] == pytest.approx(40 * share, abs=1)
            assert counts["c"] == 1

    def test_the_seed_alone_decides(self) -> None:
        assert self.divide("ab" * 50, seed=1) == self.divide("ab" * 50, seed=1)
        assert self.divide("ab" * 50, seed=1) != self.divide("ab" * 50, seed=2)

    def test_a_row_keeps_its_side_when_others_are_added(self) -> None:
        before, after = self.divide("a" * 200), self.divide("a" * 220)
        moved = set(before["test"]) - set(after["test"])
        assert len(moved) < 10

    def test_rows_of_a_test_source_are_the_test_split(self) -> None:
        divided = self.divide("ab" * 10, pinned=dict.fromkeys(range(4), "test"), test=0.5)
        assert divided["test"] == [0, 1, 2, 3]

    def test_rows_of_a_train_source_are_not_drawn_for_test(self) -> None:
        divided = self.divide("ab" * 20, pinned=dict.fromkeys(range(20), "train"), test=0.5)
        assert len(divided["test"]) == 10
        assert all(row >= 20 for row in divided["test"])

    @pytest.mark.parametrize(
        ("labels", "pinned", "spec", "reason"),
        [
            ("a" * 20 + "b" * 2, {}, {}, "ClassTooSmall"),
            ("ab" * 5, {}, {"test": 0}, "TestSplitEmpty"),
            ("ab" * 5, dict.fromkeys(range(10), "train"), {}, "TestSplitEmpty"),
            ("ab" * 5, dict.fromkeys(range(10), "test"), {"validation": 0}, "TrainSplitEmpty"),
        ],
    )
    def test_splits_that_cannot_be_made_are_refused(
        self, labels: str, pinned: dict[int, str | None], spec: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(StageFailure) as caught:
            self.divide(labels, pinned, **spec)
        assert caught.value.reason == reason

    def test_without_stratification_small_classes_are_no_obstacle(self) -> None:
        assert len(self.divide("a" * 19 + "b", stratify=False)["test"]) == 4


class TestClasses:
    def learn(self, given: list[str], train: str, test: str = "") -> list[str]:
        labels = train + test
        rows = table(*[("t", label) for label in labels])
        divided = {"train": list(range(len(train))), "validation": [], "test": list(range(len(train), len(labels)))}
        return stage.learn_classes(rows, divided, given)

    def test_classes_are_learnt_sorted_or_kept_as_given(self) -> None:
        assert self.learn([], "bca") == ["a", "b", "c"]
        assert self.learn(["c", "a", "b"], "bca") == ["c", "a", "b"]

    @pytest.mark.parametrize(
        ("given", "train", "test", "reason", "message"),
        [
            (["a", "b"], "abc", "", "UnknownClass", "1 row has a label that is not in spec.schema"),
            ([], "ab", "z", "UnknownClass", "a label that is on no training row"),
            ([], "aa", "", "TooFewClasses", "one and the same label"),
        ],
    )
    def test_labels_that_cannot_be_learnt_are_refused(
        self, given: list[str], train: str, test: str, reason: str, message: str
    ) -> None:
        with pytest.raises(StageFailure, match=message) as caught:
            self.learn(given, train, test)
        assert caught.value.reason == reason

    def test_a_column_of_free_text_is_not_taken_for_a_label(self) -> None:
        rows = table(*[("t", f"label {number}") for number in range(1001)])
        with pytest.raises(StageFailure, match="really the label") as caught:
            stage.learn_classes(rows, {"train": list(range(1001)), "validation": [], "test": []}, [])
        assert caught.value.reason == "TooManyClasses"


def test_a_length_histogram_counts_every_text() -> None:
    edges, counts = length_histogram([1, 2, 3, 500, 7, 7])
    assert sum(counts) == 6
    assert len(edges) == len(counts) + 1
    assert length_histogram([]) == ([0, 1], [0])


class TestArtifact:
    def fetched(self, dataset: Result, target: Path) -> Path:
        assert dataset.artifact is not None
        fetch_dataset(InputArtifact(uri=dataset.artifact.uri, digest=dataset.artifact.digest), target)
        return target

    def test_the_result_says_what_was_found(self, dataset: Result) -> None:
        assert dataset.dataset is not None
        assert dataset.dataset.classes == ["bird", "fish", "tree"]
        assert dataset.dataset.rows.model_dump() == {"train": 192, "validation": 48, "test": 90}
        assert dataset.dataset.quality.leakage == 0
        assert dataset.dataset.quality.min_rows_per_class == 64

    def test_splits_read_back_with_ids_of_their_classes(self, dataset: Result, tmp_path: Path) -> None:
        folder = self.fetched(dataset, tmp_path)
        rows = read_split(folder, "train")
        names = pq.read_table(folder / "train.parquet")["label"].to_pylist()
        assert [["bird", "fish", "tree"][label] for label in rows.targets] == names
        ids = [set(read_split(folder, split).row_ids.tolist()) for split in ("train", "validation", "test")]
        assert len(set.union(*ids)) == sum(map(len, ids)) == 330

    def test_the_same_data_gives_the_same_bytes(
        self, shop: Any, dataset: Result, context: Context, tmp_path: Path
    ) -> None:
        job: JobSpec = shop.job("datasets", shop.dataset_work(), token="again")
        work: Any = job.work
        again = stage.run(job, work, context)
        assert digests(again) == digests(dataset)

    def test_the_card_and_the_report_tell_what_was_removed(self, shop: Any, context: Context, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        path.write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40)) + "text 1,b\n,a\n")
        work = shop.dataset_work(sources=[{"uri": f"file:///mnt{path}"}])
        job: JobSpec = shop.job("datasets", work)
        parsed: Any = job.work
        result = stage.run(job, parsed, context)
        assert result.dataset is not None
        assert (result.dataset.quality.missing, result.dataset.quality.duplicates) == (1, 1)
        out = context.workdir / "dataset"
        card = json.loads((out / "card.json").read_text())
        assert card["removed"]["duplicates"] == {"rows": 1, "first": [f"file:///mnt{path} row 41"]}
        assert card["removed"]["missing"]["first"] == [f"file:///mnt{path} row 42"]
        page = (out / "report.html").read_text()
        assert "repeats an earlier row" in page and "<svg" in page and "http" not in page.replace("http-equiv", "")

    def test_copies_of_a_text_never_stand_on_both_sides_of_the_test(
        self, shop: Any, context: Context, tmp_path: Path
    ) -> None:
        path = tmp_path / "x.csv"
        path.write_text("text,label\n" + "".join(f"text {n % 30},{'ab'[n % 2]}\n" for n in range(90)))
        work = shop.dataset_work(sources=[{"uri": f"file:///mnt{path}"}], clean={"duplicates": {"method": "none"}})
        job: JobSpec = shop.job("datasets", work)
        parsed: Any = job.work
        stage.run(job, parsed, context)
        sides = {split: set(read_split(context.workdir / "dataset", split).inputs) for split in ("train", "test")}
        assert sides["train"] and sides["test"]
        assert not sides["train"] & sides["test"]


def digests(result: Result) -> dict[str, str]:
    assert result.artifact is not None
    manifest = json.loads((Path(result.artifact.uri.removeprefix("file:///mnt")) / "kaon.json").read_text())
    return {file["path"]: file["sha256"] for file in manifest["files"]}
