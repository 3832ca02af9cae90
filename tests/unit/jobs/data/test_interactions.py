"""Interactions: which count, how they are divided along the time, and what is asked of a model then."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from interactions import interactions, write_interactions

from kaon.api.dataset import Clean, DataSchema, Split
from kaon.tasks.registry import TASKS
from kaon_jobs.data.interactions import Divided, clean, divide
from kaon_jobs.data.rows import Columns, FileRows, Table
from kaon_jobs.data.splits import read_split
from kaon_jobs.errors import StageFailure

TYPES = {"who": "user", "what": "item", "stars": "rating", "when": "time", "about": "text"}
Row = tuple[str | None, str | None, Any]


def table(*rows: Row, more: str = "when", pinned: Sequence[str | None] = ()) -> Table:
    """Rows of (user, item, what the column `more` holds), as they are read from a file."""
    features = [{"name": name, "type": TYPES[name]} for name in ("who", "what", more)]
    columns = Columns.of(DataSchema.model_validate({"features": features}), TASKS["recommendation"])
    made = Table(columns)
    for number, (user, item, value) in enumerate(rows):
        read = FileRows("file:///x.csv", columns)
        read.add([user, value], item)
        assert not read.unreadable, read.told()
        read.numbers = [number + 1]
        made.take(read, pinned[number] if pinned else None)
    return made


def pairs(found: Any) -> list[tuple[str, str]]:
    return [(found.users[user], found.item_names[item]) for user, item in zip(found.user, found.item, strict=True)]


def rules(**changes: Any) -> Clean:
    return Clean.model_validate(changes)


class TestCleaning:
    def test_interactions_stand_in_the_order_of_their_time_and_a_missing_value_goes(self) -> None:
        found, removed = clean(
            table(("b", "y", 3), ("a", "x", 1), (None, "x", 2), ("a", None, 2), ("a", "z", "")), rules()
        )
        assert pairs(found) == [("a", "x"), ("b", "y")] and removed.missing.tolist() == [2, 3, 4]

    def test_a_missing_value_fails_when_asked_to_and_names_its_row(self) -> None:
        with pytest.raises(StageFailure, match=r"1 rows have no user, item, time or rating, first .*x.csv row 2"):
            clean(table(("a", "x", 1), ("a", "y", None)), rules(missing="fail"))

    def test_a_rating_may_be_missing_where_none_is_asked_for(self) -> None:
        rows = table(("a", "x", None), ("a", "y", 2), ("b", "x", 4), more="stars")
        assert len(clean(rows, rules())[0]) == 3
        found, removed = clean(rows, rules(minRating=3))
        assert pairs(found) == [("b", "x")]
        assert (removed.missing.tolist(), removed.low.tolist()) == ([0], [1])

    def test_of_a_user_and_an_item_the_last_interaction_stays(self) -> None:
        rows = table(("a", "x", 5), ("a", "x", 9), ("a", "y", 6), ("a", "x", 7), ("b", "x", 8))
        found, removed = clean(rows, rules())
        assert pairs(found) == [("a", "y"), ("b", "x"), ("a", "x")] and removed.duplicates.tolist() == [0, 3]
        found, _ = clean(rows, rules(duplicates={"method": "none"}))
        assert len(found) == 5

    def test_without_a_time_the_last_row_stays(self) -> None:
        found, removed = clean(table(("a", "x", "one"), ("a", "x", "two"), more="about"), rules())
        assert found.row.tolist() == [1] and removed.duplicates.tolist() == [0]

    def test_what_a_test_source_has_is_not_trained_on(self) -> None:
        rows = table(("a", "x", 1), ("a", "x", 9), ("a", "y", 2), pinned=["test", "train", "train"])
        found, removed = clean(rows, rules())
        assert found.row.tolist() == [0, 2] and removed.leaked.tolist() == [1] and not len(removed.duplicates)

    def test_users_and_items_with_too_few_go_until_none_is_left_that_has(self) -> None:
        rows = table(("a", "x", 1), ("a", "y", 2), ("b", "x", 3), ("b", "y", 4), ("c", "x", 5), ("c", "z", 6))
        found, removed = clean(rows, rules(minPerUser=2, minPerItem=2))
        # z has one user; without it c has one item.
        assert {user for user, _ in pairs(found)} == {"a", "b"} and removed.few.tolist() == [4, 5]

    def test_where_none_is_left_the_message_says_why(self) -> None:
        with pytest.raises(
            StageFailure, match=r"none is left: 1 have a value missing, 2 are of a user or an item with"
        ):
            clean(table(("a", "x", 1), ("b", "y", 1), ("c", "z", None)), rules(minPerUser=2))

    def test_a_name_that_is_a_page_of_text_is_refused_with_its_row(self) -> None:
        with pytest.raises(StageFailure, match=r"The item of .* row 2 has 1,025 characters") as caught:
            clean(table(("a", "x", 1), ("a", "y" * 1025, 2)), rules())
        assert "yy" not in caught.value.message


def split(**changes: Any) -> Split:
    return Split.model_validate(changes)


def told(divided: Divided, name: Any) -> dict[int, tuple[list[str], list[str]]]:
    """Of each user of a split the items of the history and those that are asked for."""
    asked = divided.asked[name]
    return {
        int(user): ([divided.items[one] for one in history], sorted(divided.items[one] for one in wanted))
        for user, history, wanted in zip(asked.user, asked.histories, asked.targets, strict=True)
    }


class TestDividing:
    ROWS = (
        *(("a", item, time) for time, item in enumerate("uvwxyz")),
        *(("b", item, time + 0.5) for time, item in enumerate("uvwxyz")),
        ("c", "u", 4.2), ("c", "v", 4.3), ("c", "w", 4.4), ("c", "x", 4.6),
    )  # fmt: skip

    def test_by_time_all_users_share_one_cut_and_a_new_user_is_asked_about_in_the_middle(self) -> None:
        rows = table(*self.ROWS)
        found, _ = clean(rows, rules())
        divided = divide(found, rows, split(test=0.5, validation=0))
        assert divided.by == "time" and divided.cuts == {"test": 4.0}
        assert divided.interactions == {"train": 8, "validation": 0, "test": 8}
        assert told(divided, "train") == {0: (list("uvwx"),) * 2, 1: (list("uvwx"),) * 2}
        # y and z are in no training row. c is new: half of what they did is known by then.
        assert told(divided, "test") == {2: (["u", "v"], ["w", "x"])}
        assert (divided.unknown, divided.silent) == (4, 2)
        latest = max(found.time[(found.time < 4.0)])
        assert latest < divided.cuts["test"]

    def test_by_user_the_last_ones_of_each_are_asked_for(self) -> None:
        rows = table(*self.ROWS)
        found, _ = clean(rows, rules())
        divided = divide(found, rows, split(by="user", test=0.34, validation=0))
        assert told(divided, "test") == {2: (["u", "v", "w"], ["x"])}
        assert divided.interactions == {"train": 11, "validation": 0, "test": 5} and not divided.cuts

    def test_a_draw_is_the_same_whatever_the_order_of_the_rows(self) -> None:
        rows = [(f"u{user}", f"i{item}", None) for user in range(12) for item in range(10)]
        draws = []
        for given in (rows, rows[::-1]):
            made = table(*given, more="about")
            found, _ = clean(made, rules())
            divided = divide(found, made, split(seed=3))
            draws.append({user: wanted for user, (_, wanted) in told(divided, "test").items()})
        assert draws[0] == draws[1] and all(len(wanted) == 2 for wanted in draws[0].values())

    def test_a_test_source_is_the_test_split_and_everything_else_is_known(self) -> None:
        rows = table(
            ("a", "x", 1), ("a", "y", 2), ("b", "x", 1), ("b", "y", 3), ("a", "y", 9), ("b", "z", 9), ("c", "x", 9),
            pinned=["train"] * 4 + ["test"] * 3,
        )  # fmt: skip
        found, _ = clean(rows, rules())
        divided = divide(found, rows, split(validation=0))
        assert divided.by is None and told(divided, "test") == {0: (["x"], ["y"])}
        assert (divided.unknown, divided.silent) == (1, 2)

    def test_items_are_numbered_by_how_often_they_are_trained_on_and_keep_their_newest_text(self) -> None:
        given: list[Row] = [(f"u{user}", item, f"{item} {user}") for user in range(5) for item in "wxyz"]
        rows = table(*given, ("late", "y", "newest"), ("late", "z", None), more="about")
        found, _ = clean(rows, rules())
        divided = divide(found, rows, split(test=0.2, validation=0))
        assert divided.counts.tolist() == sorted(divided.counts, reverse=True)
        texts = dict(zip(divided.items, divided.texts, strict=True))
        assert texts == {"w": "w 4", "x": "x 4", "y": "newest", "z": "z 4"}

    def test_where_all_share_one_moment_there_is_no_cut(self) -> None:
        rows = table(*((f"u{user}", item, 5) for user in range(3) for item in "xyz"))
        found, _ = clean(rows, rules())
        with pytest.raises(StageFailure, match=r"Raise spec\.split\.test, or set spec\.split\.by to user") as caught:
            divide(found, rows, split())
        assert caught.value.reason == "TestSplitEmpty"

    def test_no_test_item_is_ever_in_the_history_that_is_known(self) -> None:
        random = np.random.default_rng(0)
        rows = [(f"u{random.integers(30)}", f"i{random.integers(40)}", float(random.random())) for _ in range(900)]
        for by in ("time", "user", "random"):
            made = table(*rows)
            found, _ = clean(made, rules(duplicates={"method": "none"}))
            divided = divide(found, made, split(by=by))
            for name in ("validation", "test"):
                for history, wanted in told(divided, name).values():
                    assert history and wanted and not set(history) & set(wanted)


class TestTimes:
    @pytest.mark.parametrize(
        ("written", "seconds"),
        [
            (881250949, 881250949.0),
            ("881250949", 881250949.0),
            ("1997-12-04T15:55:49Z", 881250949.0),
            ("1997-12-04", 881193600.0),
            (-1.5, -1.5),
        ],
    )
    def test_a_time_is_a_number_or_iso_8601(self, written: Any, seconds: float) -> None:
        found, _ = clean(table(("a", "x", written)), rules())
        assert found.time.tolist() == [seconds]

    def test_another_text_is_refused_with_what_would_work(self) -> None:
        columns = table(("a", "x", 1)).columns
        read = FileRows("file:///x.csv", columns)
        read.add(["a", "last week"], "x")
        assert read.unreadable == 1 and "expected a date or time in ISO 8601" in read.told()


# -- the stage --------------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(shop: Any, tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """Runs the dataset stage over a file."""
    from kaon_jobs.context import Context
    from kaon_jobs.programs import dataset
    from kaon_jobs.report.reporter import Reporter

    def run(file: Path, **changes: Any) -> tuple[Any, Path]:
        features = [{"name": name, "type": kind} for name, kind in TYPES.items()]
        work = {
            **shop.dataset_work(), "task": "recommendation", "sources": [{"uri": f"file:///mnt{file}"}],
            "schema": {"features": features}, "split": {}, **changes,
        }  # fmt: skip
        job = shop.job("datasets", work, token=str(tmp_path))
        workdir = tmp_path / "work"
        workdir.mkdir()
        return dataset.run(job, job.work, Context(Reporter(None, None), workdir, "one")), workdir / "dataset"

    return run


def test_the_artifact_has_histories_items_and_a_card(stage: Any, tmp_path: Path) -> None:
    rows = interactions()
    result, folder = stage(write_interactions(tmp_path / "x.csv", [*rows, rows[0]]), clean={"minRating": 3})
    found = result.dataset
    assert found.quality.users == 160 and found.classes == [] and found.quality.duplicates <= 1
    assert found.quality.left_out == sum(row["stars"] < 3 for row in [*rows, rows[0]])
    total = found.rows.train + found.rows.validation + found.rows.test
    assert total == found.quality.rows_read - found.quality.left_out - found.quality.duplicates
    items = pq.read_table(folder / "items.parquet").to_pydict()
    assert len(items["item"]) == found.quality.items and items["count"] == sorted(items["count"], reverse=True)
    assert items["text"][0] == next(row["about"] for row in rows if row["what"] == items["item"][0])
    test = read_split(folder, "test")
    history, user = test.inputs[0]
    assert set(history) <= {row["what"] for row in rows if row["who"] == user}
    card = json.loads((folder / "card.json").read_text())
    assert card["users"] == 160 and 0 < card["density"] < 1 and card["split"]["by"] == "time"
    assert card["removed"]["lowRating"]["rows"] == found.quality.left_out
    assert list(card["popularity"].values()) == sorted(card["popularity"].values())
    assert card["baseline"]["items"]["values"] == dict(zip(items["item"][:100], items["count"][:100], strict=True))
    page = (folder / "report.html").read_text()
    for said in ("by time: all users share", "density", "The most frequent items", "Share of interactions by share of"):
        assert said in page


def test_a_file_without_the_items_column_is_refused_by_the_features_field(stage: Any, tmp_path: Path) -> None:
    rows = [{**row, "what": ""} for row in interactions(users=3)]
    file = write_interactions(tmp_path / "x.csv", rows)
    file.write_text(file.read_text().replace("who,what,", "who,which,", 1))
    with pytest.raises(StageFailure) as caught:
        stage(file)
    assert caught.value.reason == "FeatureColumnMissing"
    assert "has no column 'what'" in caught.value.message and "spec.schema.features" in caught.value.message


def test_parquet_with_timestamps_and_whole_numbers_for_names_is_read(stage: Any, tmp_path: Path) -> None:
    rows = interactions(users=60)
    columns = {
        "who": pa.array([int(row["who"][1:]) for row in rows]),
        "what": pa.array([int(row["what"][1:]) for row in rows]),
        "stars": pa.array([float(row["stars"]) for row in rows]),
        "when": pa.array([row["when"] for row in rows], pa.timestamp("s")),
        "about": pa.array([row["about"] for row in rows]),
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    result, folder = stage(tmp_path / "x.parquet")
    assert result.dataset.quality.users == 60
    cut = json.loads((folder / "card.json").read_text())["split"]["cuts"]["test"]
    assert 900_000_000 < cut < 900_100_000
