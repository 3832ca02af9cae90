"""The judge: turns are fair, sizes count what serving needs, and foreign test rows are not accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from contract import OWN_TEST_FILE, Case, Feed, Made, Rows, write_rows
from judge import WARM_UP_ROUNDS, Entrant, size_bytes, split_of, take_turns
from scores import Budget


def rows(count: int) -> Rows:
    numbers = np.arange(count)
    return Rows({"features": numbers.reshape(-1, 1).astype(np.float32)}, labels=numbers % 2, baseline=numbers % 2)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    folder = tmp_path / "case"
    folder.mkdir()
    write_rows(folder / "test.npz", rows(4))
    (folder / "tokenizer.json").write_bytes(b"x" * 100)
    return Case(folder, "tiny", "table", ["a", "b"], Budget(0.01, 0.02), threads=1, served_with=["tokenizer.json"])


def test_every_round_asks_all_models_the_same_row_and_another_goes_first() -> None:
    asked: list[tuple[str, float]] = []

    def model(name: str) -> Entrant:
        def predict(feed: Feed) -> np.ndarray:
            asked.append((name, float(feed["features"][0, 0])))
            return np.zeros((1, 2), dtype=np.float32)

        return Entrant(predict, rows(40), fixed_length=False, size_bytes=1)

    times = take_turns({"a": model("a"), "b": model("b"), "c": model("c")}, rounds=20)
    assert {name: len(one) for name, one in times.items()} == {"a": 20, "b": 20, "c": 20}
    rounds = [asked[start : start + 3] for start in range(0, len(asked), 3)]
    assert len(rounds) == WARM_UP_ROUNDS + 20
    assert all(len({row for _, row in one}) == 1 for one in rounds)
    assert [one[0][0] for one in rounds[:4]] == ["a", "b", "c", "a"]
    assert rounds[0][0][1] == 0 and rounds[-1][0][1] == 39


def test_a_model_is_as_large_as_all_that_serving_it_needs(case: Case, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(b"x" * 5)
    (tmp_path / "model.bin").write_bytes(b"x" * 50)
    made = Made("quantized", files=("model.xml", "model.bin"))
    assert size_bytes(case, tmp_path, made) == 155


def test_a_model_with_a_tokenizer_of_its_own_is_not_charged_for_the_old_one(case: Case, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 5)
    assert size_bytes(case, tmp_path, Made("trimmed", complete=True)) == 5


def test_test_rows_in_another_form_are_taken_from_who_brings_them(case: Case, tmp_path: Path) -> None:
    own = rows(4)
    write_rows(tmp_path / OWN_TEST_FILE, replace(own, inputs={"features": own.inputs["features"] + 7}))
    assert split_of(case, tmp_path).inputs["features"][0, 0] == 7


def test_other_test_rows_than_the_cases_are_refused(case: Case, tmp_path: Path) -> None:
    write_rows(tmp_path / OWN_TEST_FILE, rows(3))
    with pytest.raises(ValueError, match="does not hold the test split's rows"):
        split_of(case, tmp_path)
