"""Models of tables: each is its ONNX graph, learns what there is, and small or odd data stop none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from sklearn.linear_model import Ridge
from tablesplits import MIXED, features_of, mixed_rows

from kaon.api.dataset import Feature
from kaon_jobs.learn.calibration import ABSENT, sharpness
from kaon_jobs.learn.tables import boosting, linear, material
from kaon_jobs.learn.tables.boosting import _below
from kaon_jobs.learn.tables.columns import MAX_CATEGORIES, Layout, columns_of
from kaon_jobs.learn.tables.graph import NUMBERS
from kaon_jobs.learn.tables.material import parts_of
from kaon_jobs.learn.tables.preparation import FARTHEST, Preparation
from kaon_jobs.learn.tables.training import AUTO, KINDS, MEAN, Given, TrainedTable, train
from kaon_jobs.runtime.table import TableReader

Floats = np.ndarray[Any, np.dtype[np.float32]]


def trained(
    kind: str,
    rows: Sequence[tuple[Any, ...]],
    targets: Sequence[Any],
    *,
    features: Sequence[Feature] = MIXED,
    validation: int = 0,
    classes: int = 0,
    **asked: Any,
) -> tuple[TrainedTable, Floats]:
    """A model of the first rows, the last ones being the validation split; and all rows as numbers."""
    learnt = len(rows) - validation
    columns = columns_of(features, rows[:learnt])
    numbers = TableReader([column.wire() for column in columns]).numbers(rows)
    given = np.asarray(targets, np.int64 if classes else np.float64)
    made = train(
        kind,
        Layout.of(columns),
        Given(numbers[:learnt].copy(), given[:learnt]),
        Given(numbers[learnt:].copy(), given[learnt:]),
        classes,
        **{"balanced": False, "seed": 0, "threads": 1, "progress": lambda kind, share: None, **asked},
    )
    return made, numbers


def served(made: TrainedTable, numbers: Floats) -> Floats:
    session = onnxruntime.InferenceSession(made.graph().SerializeToString())
    (found,) = session.run(None, {NUMBERS: numbers})
    assert isinstance(found, np.ndarray)
    return found


def odd_rows(numbers: Floats) -> Floats:
    """All rows of MIXED, each with one value missing; all missing; and all numbers far away on both sides."""
    holes = numbers.copy()
    holes[np.arange(len(holes)), np.arange(len(holes)) % holes.shape[1]] = np.nan
    ends = np.asarray([[end] * numbers.shape[1] for end in (np.nan, 1e30, -1e30, np.inf, -np.inf, 0)], np.float32)
    ends[:, 2] = np.nan  # the category, whose ids are those that it has
    return np.concatenate([numbers, holes, ends])


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of what is trained, not of how well."""
    monkeypatch.setattr(boosting, "MOST_ROUNDS", 60)
    monkeypatch.setattr("kaon_jobs.learn.tables.network.EPOCHS", 12)


class TestTheGraph:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("classes", [0, 2, 3])
    def test_it_gives_the_models_answers_on_every_row(self, kind: str, classes: int) -> None:
        rows, values = mixed_rows(300)
        targets = np.digitize(values, np.quantile(values, np.linspace(0, 1, classes + 1)[1:-1])) if classes else values
        made, numbers = trained(kind, rows, targets, classes=classes, validation=60)
        asked = odd_rows(numbers)
        expected = made.answers(asked)
        assert served(made, asked) == pytest.approx(expected, abs=1e-4 * max(1.0, float(np.abs(expected).max())))
        assert np.isfinite(expected).all()

    def test_trees_take_a_value_at_a_threshold_as_lightgbm_does(self) -> None:
        random = np.random.default_rng(1)
        rows = [(float(np.float32(value)),) for value in random.normal(size=400).round(2)]
        made, _ = trained("lightgbm", rows, [row[0] > 0.3 for row in rows], classes=2, features=features_of(x="number"))
        booster = made.model.boosters[0].dump_model()  # type: ignore[attr-defined]
        thresholds = [
            t["tree_structure"]["threshold"] for t in booster["tree_info"] if "threshold" in t["tree_structure"]
        ]
        near = np.asarray([[step] for value in thresholds for step in _around(value)], np.float32)
        assert len(near) and served(made, near) == pytest.approx(made.answers(near), abs=1e-5)

    @pytest.mark.parametrize("threshold", [0.1, -0.1, 1e-35, 0.0, 1e300, 16777217.0])
    def test_a_float32_is_at_most_the_rounded_threshold_where_it_is_at_most_the_threshold(
        self, threshold: float
    ) -> None:
        rounded = np.float32(_below(threshold))
        with np.errstate(over="ignore"):
            for value in _around(threshold):
                finite = float(np.clip(value, np.finfo(np.float32).min, np.finfo(np.float32).max))
                assert (value <= rounded) == (finite <= threshold)

    def test_a_split_of_many_categories_is_a_chain_whose_ends_are_shared(self) -> None:
        random = np.random.default_rng(2)
        names = [f"c{number}" for number in range(40)]
        chosen = random.choice(names, 1200)
        worth = dict(zip(names, random.normal(size=40), strict=True))
        rows = [(str(name),) for name in chosen] + [("never seen",), (None,)]
        targets = [worth.get(row[0] or "", 0.0) for row in rows]
        made, numbers = trained("lightgbm", rows, targets, features=features_of(c="category"), validation=2)
        kinds = {
            tree["tree_structure"].get("threshold")
            for booster in made.model.boosters  # type: ignore[attr-defined]
            for tree in booster.dump_model()["tree_info"]
        }
        assert any("||" in str(kind) for kind in kinds)
        answers = served(made, numbers)
        assert answers == pytest.approx(made.answers(numbers), abs=1e-5)
        assert answers[-2] == answers[-1]  # unknown is as missing
        assert np.corrcoef(answers[:-2, 0], targets[:-2])[0, 1] > 0.9

    def test_a_missing_number_where_none_was_missing_counts_as_the_median(self) -> None:
        rows = [(float(value), 0.0) for value in range(100, 200)]
        made, _ = trained("lightgbm", rows, [row[0] for row in rows], features=features_of(x="number", y="number"))
        missing, median, zero = made.answers(np.asarray([[np.nan, 0], [149.5, 0], [0, 0]], np.float32))[:, 0]
        assert missing == median != zero


def _around(threshold: float) -> list[np.float32]:
    with np.errstate(over="ignore"):
        middle = np.float32(threshold)
        return [np.nextafter(middle, np.float32(-np.inf)), middle, np.nextafter(middle, np.float32(np.inf))]


class TestLearning:
    @pytest.mark.parametrize("kind", [*KINDS, AUTO])
    def test_it_finds_what_the_columns_say(self, kind: str) -> None:
        rows, values = mixed_rows(600)
        made, numbers = trained(kind, rows, values, validation=100)
        errors = made.answers(numbers[500:])[:, 0] - values[500:]
        assert errors.std() < 0.75 * values.std()

    def test_auto_takes_the_best_on_rows_that_were_not_learnt_from(self) -> None:
        rows, values = mixed_rows(400)
        made, _ = trained(AUTO, rows, values, validation=50)
        losses = {one.kind: made.loss(one) for one in made.candidates}
        assert set(losses) == {*KINDS, MEAN}
        assert losses[made.kind] == min(losses.values()) or losses[MEAN] < losses[made.kind] < 1.01 * losses[MEAN]
        assert made.held == 400  # each training row once, and the validation split

    def test_the_same_seed_gives_the_same_graph(self) -> None:
        rows, values = mixed_rows(200)
        for kind in KINDS:
            one, other = (trained(kind, rows, values)[0].graph().SerializeToString() for _ in range(2))
            assert one == other

    def test_ridge_regression_is_scikit_learns(self) -> None:
        random = np.random.default_rng(3)
        given, targets = random.normal(size=(80, 4)), random.normal(size=80)
        preparation = Preparation.of(np.zeros((1, 4), np.float32), Layout.of(columns_of([], [])), "standard")
        (made,) = linear._ridge(preparation, given, targets, np.ones(80), [3.0])
        theirs = Ridge(3.0).fit(given, targets)
        assert made.weights[:, 0] == pytest.approx(theirs.coef_) and made.bias[0] == pytest.approx(theirs.intercept_)

    def test_balanced_classes_count_alike(self) -> None:
        random = np.random.default_rng(4)
        rows = [(float(value),) for value in random.normal(size=400)]
        targets = [int(row[0] + random.normal() > 1.5) for row in rows]
        for kind in KINDS:
            plain, balanced = (
                trained(kind, rows, targets, classes=2, features=features_of(x="number"), balanced=asked)
                for asked in (False, True)
            )
            rare = [(made.answers(numbers).argmax(axis=1) == 1).mean() for made, numbers in (plain, balanced)]
            assert rare[1] > rare[0]


class TestSmallAndOddData:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_class_with_one_row_and_one_without_any(self, kind: str) -> None:
        rows, values = mixed_rows(150)
        targets = (values > 0).astype(int)
        targets[7] = 3  # once; 2 and 4 never
        made, numbers = trained(kind, rows, targets, classes=5, validation=20)
        answers = served(made, numbers)
        assert (answers[:, [2, 4]] == ABSENT).all() and set(answers.argmax(axis=1)) <= {0, 1, 3}

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_class_that_only_the_validation_split_has(self, kind: str) -> None:
        rows, values = mixed_rows(120)
        targets = (values > 0).astype(int)
        targets[110:] = 2
        made, numbers = trained(kind, rows, targets, classes=3, validation=20)
        assert set(served(made, numbers).argmax(axis=1)) <= {0, 1}

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("classes", [0, 3])
    def test_nothing_to_learn(self, kind: str, classes: int) -> None:
        rows, _ = mixed_rows(60)
        made, numbers = trained(kind, rows, [1] * 60, classes=classes)
        answers = served(made, numbers)
        assert (answers.argmax(axis=1) == 1).all() if classes else answers == pytest.approx(np.ones((60, 1)), abs=1e-5)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("count", [2, 3, 12])
    def test_a_handful_of_rows(self, kind: str, count: int) -> None:
        rows, values = mixed_rows(count)
        made, numbers = trained(kind, rows, values)
        assert served(made, odd_rows(numbers)) == pytest.approx(made.answers(odd_rows(numbers)), abs=1e-3)

    @pytest.mark.parametrize("kind", KINDS)
    def test_columns_that_are_constant_or_empty_or_huge(self, kind: str) -> None:
        random = np.random.default_rng(5)
        rows = [(5.0, None, 1e300 * (number % 2), "only", None, float(random.normal())) for number in range(100)]
        features = features_of(a="number", b="number", c="number", d="category", e="category", f="number")
        made, numbers = trained(kind, rows, [row[-1] for row in rows], features=features, validation=10)
        assert np.isfinite(served(made, numbers)).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_category_that_no_training_row_has_is_as_missing(self, kind: str) -> None:
        rows, values = mixed_rows(120)
        rows[-1] = (1.0, 1.0, "violet", rows[-1][3])
        rows.append((1.0, 1.0, None, rows[-1][3]))
        made, numbers = trained(kind, rows, [*values, 0.0], validation=20)
        seen, missing = made.answers(numbers[-2:])
        assert seen == missing

    def test_many_rows_are_one_part_and_a_small_validation_split_is_helped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(material, "FOLDED_ROWS", 100)
        targets = np.arange(500.0)
        (helped,) = parts_of(targets, 480, 0, 0)
        assert len(helped.held) == 48 and helped.held.max() < 480 and not set(helped.held) & set(helped.learnt)
        (whole,) = parts_of(targets, 250, 0, 0)
        assert whole.held.tolist() == list(range(250, 500)) and len(whole.learnt) == 250
        for kind in KINDS:
            rows, values = mixed_rows(500)
            made, numbers = trained(kind, rows, values, validation=20)
            assert served(made, numbers) == pytest.approx(made.answers(numbers), abs=1e-3)


def test_folds_hold_each_class_evenly_and_never_a_rare_one() -> None:
    targets = np.asarray([0] * 50 + [1] * 10 + [2] * 4)
    parts = parts_of(targets, 64, 3, 0)
    assert len(parts) == 5
    for part in parts:
        assert np.bincount(targets[part.held], minlength=3).tolist() == [10, 2, 0]
        assert sorted([*part.held, *part.learnt]) == list(range(64))


def test_numbers_are_prepared_as_the_training_rows_say() -> None:
    rows = [(1.0, "b"), (3.0, "b"), (None, "a"), (5.0, None)]
    columns = columns_of(features_of(x="number", kind="category"), rows)
    assert columns[1].categories == ["b", "a"]
    numbers = TableReader([column.wire() for column in columns]).numbers(rows)
    made = Preparation.of(numbers, Layout.of(columns), "standard")
    found = made.apply(np.asarray([[3, 1], [np.nan, np.nan], [1e30, 0]], np.float32))
    # The number, then whether number and category are missing, then a 1 for b or a.
    assert found.tolist() == [[0, 0, 0, 0, 1], [0, 1, 1, 0, 0], [FARTHEST, 0, 0, 1, 0]]


def test_the_rarest_categories_are_unknown() -> None:
    rows = [(f"c{number}",) for number in range(MAX_CATEGORIES + 5)] + [("often",)] * 2
    (column,) = columns_of(features_of(c="category"), rows)
    assert len(column.categories) == MAX_CATEGORIES and column.categories[0] == "often"


def test_a_few_rows_that_are_all_right_do_not_make_it_certain() -> None:
    scores, ids = np.asarray([[1.0, -1.0], [-1.0, 1.0]] * 10), np.asarray([0, 1] * 10)
    assert sharpness(scores, ids) > 10
    assert 1 < sharpness(scores, ids, cautious=True) < 3
