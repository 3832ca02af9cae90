"""recommendation from raw rows to a laid-out model: what each stage leaves, and how the next one reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from interactions import FEATURES, interactions, write_interactions

from kaon.api.report import Result
from kaon.contract.jobspec import DatasetWork, EvaluateWork, FetchWork, InputArtifact, TrainWork
from kaon.contract.manifest import ModelCard
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.recommend import linear, towers, training
from kaon_jobs.learn.recommend.material import Material, Questions, as_matrix, questions_of
from kaon_jobs.measure.golden import difference, input_of
from kaon_jobs.measure.predictions import read_answers
from kaon_jobs.predict.onnx_history import OnnxHistoryModel
from kaon_jobs.predict.opening import open_model
from kaon_jobs.programs import compress, dataset, evaluate, train
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.runtime.history import padded
from kaon_jobs.serve.layout import lay_out

TASK = "recommendation"
KINDS = ("popularity", "item-knn", "ease", "two-tower")


@pytest.fixture(scope="module", autouse=True)
def few_epochs() -> Any:
    """Tests of what is left behind, not of how good it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(towers, "EPOCHS", 8)
        patch.setattr("kaon_jobs.store.options._identity", {})
        yield


def context_of(workdir: Path) -> Context:
    workdir.mkdir(parents=True)
    return Context(Reporter(None, None), workdir, workdir.name)


def input_artifact(result: Result) -> dict[str, Any]:
    assert result.artifact is not None
    return {"uri": result.artifact.uri, "digest": result.artifact.digest}


def dataset_work(file: Path, **changes: Any) -> dict[str, Any]:
    return {
        "stage": "dataset",
        "task": TASK,
        "sources": [{"uri": f"file:///mnt{file}"}],
        "format": "auto",
        "schema": {"features": FEATURES},
        "clean": {},
        "split": {},
        **changes,
    }


@pytest.fixture(scope="module")
def made(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The dataset artifact."""
    folder = tmp_path_factory.mktemp("interactions")
    work = dataset_work(write_interactions(folder / "rows.csv", interactions()))
    job = shop.job("datasets", work, token=str(folder))
    return dataset.run(job, DatasetWork.model_validate(work), context_of(folder / "d"))


@pytest.fixture(scope="module")
def models(shop: Any, made: Result, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Result, Path]]:
    """The result and the folder of a model by the name of its kind; trained when it is first asked for."""
    found: dict[str, tuple[Result, Path]] = {}

    def model(kind: str) -> tuple[Result, Path]:
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind) / "run"
            work = {
                "stage": "train",
                "task": TASK,
                "dataset": input_artifact(made),
                "model": {"base": f"builtin:{kind}"},
                "recipe": {"maxSequenceLength": 16},
                "checkpoint": {},
            }
            job = shop.job("trainingruns", work, token=str(folder))
            found[kind] = train.run(job, TrainWork.model_validate(work), context_of(folder)), folder / "model"
        return found[kind]

    return model


@pytest.mark.parametrize("kind", [*KINDS, "auto"])
def test_a_model_is_trained_proved_measured_and_recorded(models: Any, kind: str) -> None:
    result, folder = models(kind)
    evaluation = result.training.evaluation
    assert set(evaluation.metrics) == {"ndcgAt10", "recallAt10", "mrrAt10"}
    assert all(figure.low <= figure.value <= figure.high for figure in evaluation.metrics.values())
    assert evaluation.baseline.name == "list of the most popular items"
    assert evaluation.baseline.metrics.keys() == evaluation.metrics.keys()
    assert evaluation.latency_ms and evaluation.peak_memory_bytes and evaluation.size_bytes
    card = ModelCard.model_validate_json((folder / "card.json").read_bytes())
    assert (card.reads, card.predicts, card.ranks, card.labels, card.max_sequence_length) == (
        "history",
        "items",
        10,
        [],
        16,
    )
    assert [(one.name, one.datatype, one.shape, one.optional) for one in card.served_signature.inputs] == [
        ("history", "BYTES", [-1, -1], True),
        ("user", "BYTES", [-1, 1], True),
    ]
    assert [(one.name, one.datatype, one.shape) for one in card.served_signature.outputs] == [
        ("items", "BYTES", [-1, 10]),
        ("scores", "FP32", [-1, 10]),
    ]
    assert card.serving_files == ["model.onnx", "items.json", "users.npz", "card.json"]
    model = open_model(folder, 1)
    assert len(card.golden) == 13 and all(difference(model, one) <= card.golden_tolerance for one in card.golden)
    page = (folder / "report.html").read_text()
    for said in ("coverage", "Offers by the item&#x27;s place in popularity", "users not learnt from"):
        assert said in page


def test_models_that_read_histories_are_better_than_what_is_popular(models: Any) -> None:
    figures = {kind: models(kind)[0].training.evaluation.value("ndcgAt10") for kind in (*KINDS, "auto")}
    popular = figures["popularity"]
    assert figures["popularity"] == models("ease")[0].training.evaluation.baseline.value("ndcgAt10")
    assert all(figures[kind] > popular + 0.1 for kind in ("item-knn", "ease", "two-tower", "auto")), figures


def test_auto_keeps_the_best_on_users_not_learnt_from_and_tells_all(models: Any) -> None:
    page = (models("auto")[1] / "report.html").read_text()
    assert all(f"{kind} 0." in page for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_user_has_taken_is_not_offered_again_and_who_is_unknown_gets_what_is_popular(
    models: Any, kind: str
) -> None:
    model = open_model(models(kind)[1], 1)
    assert isinstance(model, OnnxHistoryModel)
    names = model.reader.names

    def items(*asked: Any) -> list[str]:
        return [str(name) for name in model.reader.tensors(model.answers(list(asked)))["items"][0]]

    popular = items(((), None))
    assert popular == names[:10] == items(((), "nobody")) == items((("no such item",), None))
    taken = tuple(names[:3])
    assert not set(items((taken, None))) & set(taken)
    # The user's own history is read where none is given, and only then.
    known = next(one for one in ("u3", "u7", "u11") if items(((), one)) != popular or kind == "popularity")
    assert items((taken, known)) == items((taken, None))
    assert items((("no such item", *taken), None)) == items((taken, None)) == items(((taken[0], *taken), None))
    # A catalogue that is nearly taken leaves fewer.
    rest = items((tuple(names[4:]), None))
    assert sorted(filter(None, rest)) == sorted(names[:4]) and rest[4:] == [""] * 6


def test_batches_answer_as_rows_alone_do(models: Any) -> None:
    for kind in KINDS:
        model = open_model(models(kind)[1], 1)
        names = model.reader.names
        asked = [((), None), (tuple(names[5:9]), None), (tuple(names[2:40]), None), ((), "u5"), ((names[0],), None)]
        together = model.answers(asked, batch_size=5)
        alone = np.concatenate([model.answers([one]) for one in asked])
        assert np.abs(together - alone).max() < 1e-4


def test_evaluating_gives_the_figures_of_the_training(shop: Any, models: Any, made: Result, tmp_path: Path) -> None:
    result, _ = models("ease")
    work = {"stage": "evaluate", "model": input_artifact(result), "dataset": input_artifact(made)}
    job = shop.job("evaluations", work, token=str(tmp_path))
    again = evaluate.run(job, EvaluateWork.model_validate(work), context_of(tmp_path / "e"))
    assert again.training is not None
    assert again.training.evaluation.metrics == result.training.evaluation.metrics


def test_items_that_the_model_does_not_know_are_missed_and_not_left_out(shop: Any, models: Any, tmp_path: Path) -> None:
    rows = [{**row, "what": f"new{row['what']}"} for row in interactions(users=40)]
    given = dataset_work(write_interactions(tmp_path / "rows.csv", rows))
    other = dataset.run(
        shop.job("datasets", given, token=str(tmp_path)), DatasetWork.model_validate(given), context_of(tmp_path / "d")
    )
    work = {"stage": "evaluate", "model": input_artifact(models("ease")[0]), "dataset": input_artifact(other)}
    job = shop.job("evaluations", work, token=str(tmp_path))
    found = evaluate.run(job, EvaluateWork.model_validate(work), context_of(tmp_path / "e"))
    assert found.training is not None and found.training.evaluation.value("recallAt10") == 0


@pytest.mark.parametrize("server", ["triton", "torchserve"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_laid_out_model_answers_as_recorded_without_kaon(models: Any, tmp_path: Path, kind: str, server: str) -> None:
    _, folder = models(kind)
    files, target = tmp_path / "files", tmp_path / "target"
    files.mkdir()
    card = ModelCard.model_validate_json((folder / "card.json").read_bytes())
    for name in card.serving_files:
        (files / name).write_bytes((folder / name).read_bytes())
    work = FetchWork(
        model=InputArtifact(uri="file:///mnt/x", digest=f"sha256:{'0' * 64}"),
        kind="model",
        server=server,
        model_name="m",
        target_dir=str(target),
    )
    lay_out(work, card, files, target)
    laid_out = target / {"triton": "repository/m/1", "torchserve": "store/m"}[server]
    script = (
        "import json, sys; from pathlib import Path; from predictor import Predictor; p = Predictor(Path('.'));"
        "found = p.tensors(p.answers([tuple(row) for row in json.loads(sys.argv[1])]));"
        "print(json.dumps([found['items'].tolist(), found['scores'].tolist()]))"
    )
    asked = [input_of(one) for one in card.golden]
    command = [sys.executable, "-c", script, json.dumps(asked)]
    done = subprocess.run(command, cwd=laid_out, capture_output=True, text=True, check=True)
    items, scores = json.loads(done.stdout)
    assert items == [one.items for one in card.golden]
    assert scores == [pytest.approx(one.answer, abs=1e-4) for one in card.golden]
    if server == "triton":
        config = (target / "repository/m/config.pbtxt").read_text().splitlines()
        assert [line for line in config if line.startswith(("input", "output"))] == [
            'input { name: "history" data_type: TYPE_STRING dims: [ -1 ] optional: true allow_ragged_batch: true }',
            'input { name: "user" data_type: TYPE_STRING dims: [ 1 ] optional: true }',
            'output { name: "items" data_type: TYPE_STRING dims: [ 10 ] }',
            'output { name: "scores" data_type: TYPE_FP32 dims: [ 10 ] }',
        ]


# -- compression ------------------------------------------------------------------------------------------------------


def compressed(shop: Any, models: Any, made: Result, workdir: Path, kind: str, **changes: Any) -> tuple[Result, Path]:
    work = {
        "stage": "compress",
        "task": TASK,
        "model": input_artifact(models(kind)[0]),
        "dataset": input_artifact(made),
        "budget": {"maxDrop": {"ndcgAt10": 0.15, "recallAt10": 0.15}},
        "objective": "size",
        "strategy": "auto",
        "steps": None,
        "search": {"maxTrials": 8},
        "target": {"threads": 1},
        **changes,
    }
    job = shop.job("compressionjobs", work, str(workdir))
    return compress.run(job, job.work, context_of(workdir)), workdir


@pytest.mark.parametrize("kind", ["item-knn", "ease", "two-tower"])
def test_auto_finds_a_smaller_form_that_ranks_as_well(
    shop: Any, models: Any, made: Result, tmp_path: Path, kind: str
) -> None:
    result, workdir = compressed(shop, models, made, tmp_path / "c", kind)
    found = result.compression
    assert found is not None and found.verdict == "Accepted", found
    assert (found.size_ratio or 0) > 1.1 and set(found.drops) == {"ndcgAt10", "recallAt10", "mrrAt10"}
    assert found.flip_rate is None and found.class_recall_drop is None
    out = workdir / "compressed"
    model = open_model(out, 1)
    assert all(difference(model, one) <= model.card.golden_tolerance for one in model.card.golden)
    assert read_answers(out / "predictions-test.parquet").shape == (found.evaluation.rows, 20)
    report = json.loads((out / "report.json").read_text())
    assert report["predicts"] == "items" and "ranks items" in report["searchEnded"]
    assert "nDCG@10 drop" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("kind", "step", "says"),
    [
        ("ease", {"prune": {"method": "neighbours", "ratio": 0.5}}, "no table of neighbours"),
        ("ease", {"optimize": "transformer-fusion"}, "and models of texts, and this is a model that ranks items"),
        ("two-tower", {"prune": {"method": "trees", "ratio": 0.5}}, "use prune with method: neighbours"),
        ("two-tower", {"distill": {}}, "and this is a model that ranks items"),
        ("popularity", {"quantize": {"scheme": "int8-dynamic"}}, "the graph holds no weights"),
        ("item-knn", {"lowRank": {"energy": 0.5}}, "no matrix is smaller"),
    ],
)
def test_what_does_not_apply_is_said_by_name_in_the_verdict(
    shop: Any, models: Any, made: Result, tmp_path: Path, kind: str, step: dict[str, Any], says: str
) -> None:
    with pytest.raises(StageFailure, match=says):
        compressed(shop, models, made, tmp_path / "c", kind, strategy="steps", steps=[step])


def test_fewer_neighbours_are_the_nearest(shop: Any, models: Any, made: Result, tmp_path: Path) -> None:
    steps = [{"prune": {"method": "neighbours", "ratio": 0.5}}, {"quantize": {"scheme": "int8-dynamic"}}]
    result, workdir = compressed(shop, models, made, tmp_path / "c", "item-knn", strategy="steps", steps=steps)
    assert result.compression is not None and result.compression.evaluation is not None
    before = onnx.load(models("item-knn")[1] / "model.onnx")
    wide = {tuple(one.dims) for one in before.graph.initializer if len(one.dims) == 2 and one.dims[0] > 1}
    after = onnx.load(workdir / "compressed/model.onnx")
    kept = {tuple(one.dims) for one in after.graph.initializer if len(one.dims) == 2 and one.dims[0] > 1}
    ((rows, count),) = wide
    assert kept == {(rows, round(count / 2))}


# -- models -----------------------------------------------------------------------------------------------------------


def material(histories: list[list[int]], items: int, texts: list[str | None] | None = None, **changes: Any) -> Material:
    taken = [np.array(one) for one in histories]
    counts = np.bincount(np.concatenate(taken), minlength=items)
    learnt, questions = questions_of(taken, Questions([], []), 0)
    fields = {"items": items, "histories": learnt, "counts": counts, "texts": texts or [], "questions": questions}
    return Material(**{**fields, "length": 16, "seed": 0, "threads": 1, **changes})


def heard(share: float) -> None:
    assert 0 <= share <= 1


PAIRED = [[0, 1], [0, 1, 2], [2, 3], [3, 2, 4], [0, 1, 4], [2, 3, 0]] * 5
"""0 goes with 1, and 2 with 3."""


def test_ease_is_its_closed_form() -> None:
    given = material(PAIRED, 5)
    model = linear.fit_ease(given, heard).model
    taken = as_matrix(given.histories, 5).toarray().astype(np.float64)
    for strength in linear.EASE_STRENGTHS:
        inverse = np.linalg.inv(taken.T @ taken + strength * np.eye(5))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        if np.allclose(model.weights, weights, atol=1e-5):
            break
    else:
        pytest.fail("no strength gives these weights")
    assert model.scores([np.array([2])])[0].argmax() == 3


def test_neighbours_are_by_the_cosine_of_their_users_with_shrinkage() -> None:
    given = material(PAIRED, 5)
    model = linear.fit_neighbours(given, heard).model
    taken = as_matrix(given.histories, 5).toarray().astype(np.float64)
    products, norms = taken.T @ taken, np.linalg.norm(taken, axis=0)
    similar = [products / (np.outer(norms, norms) + shrinkage) for shrinkage in linear.SHRINKAGES]
    assert model.near[0, 0] == 1 and model.near[2, 0] == 3
    assert any(np.allclose(model.similarities[0, 0], one[0, 1]) for one in similar)
    assert all(row.tolist() == sorted(row, reverse=True) for row in model.similarities)


def test_too_many_items_for_ease_are_refused_by_name_and_left_out_of_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "MOST_EASE_ITEMS", 4)
    monkeypatch.setattr(towers, "EPOCHS", 1)
    given = material(PAIRED, 5)
    with pytest.raises(
        StageFailure, match=r"5 items are above its limit of 4. Set spec.model.base to builtin:item-knn"
    ):
        training.train("ease", given, lambda kind, share: heard(share))
    choice = training.train("auto", given, lambda kind, share: heard(share))
    assert list(choice.refused) == ["ease"] and len(choice.candidates) == 3


def test_without_a_validation_split_the_last_items_of_some_users_are_held_out() -> None:
    given = material(PAIRED, 5)
    assert len(given.questions) == 15 and sum(map(len, given.histories)) == sum(map(len, PAIRED)) - 15
    # With enough questions nothing is held out.
    asked = Questions([np.array([0])] * 20, [np.array([1])] * 20)
    histories, questions = questions_of([np.array([0, 1])], asked, 0)
    assert len(histories[0]) == 2 and questions is asked


def test_lessons_are_each_item_with_the_ones_before_it() -> None:
    given = replace(material([[4, 2, 3], [1]], 5), histories=[np.array([4, 2, 3]), np.array([1])])
    lessons = towers.Lessons.of(given)
    histories, targets = lessons.batch(np.arange(len(lessons)))
    assert histories.tolist() == [[5, 4], [4, 2]] and targets.tolist() == [2, 3]
    assert lessons.frequency.tolist() == [0, 0, 0.5, 0.5, 0]


@pytest.mark.parametrize("texts", [None, ["a cat", "the cat", None, "dogs bark", "a dog"], ["", "…", None, "", "!"]])
def test_two_towers_export_what_they_learnt_whatever_texts_there_are(
    monkeypatch: pytest.MonkeyPatch, texts: list[str | None] | None
) -> None:
    monkeypatch.setattr(towers, "EPOCHS", 2)
    given = material(PAIRED, 5, texts)
    trained = towers.fit_towers(given, heard)
    assert ("with the items" in trained.about) == bool(texts and "a cat" in texts)
    session = onnxruntime.InferenceSession(trained.model.graph().SerializeToString())
    for histories in ([np.array([0])], [np.array([2, 3, 0])], [np.array([], np.int64), np.array([1, 4])]):
        (served,) = session.run(None, {"history": padded(histories, 5, 16)})
        assert np.abs(served - trained.model.scores(histories)).max() < 1e-4
    again = towers.fit_towers(given, heard).model
    assert np.array_equal(again.scores([np.array([1])]), trained.model.scores([np.array([1])]))


def test_two_towers_read_the_newest_items_of_a_long_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "EPOCHS", 1)
    monkeypatch.setattr(towers, "LENGTH", 3)
    model = towers.fit_towers(material(PAIRED, 5), heard).model
    session = onnxruntime.InferenceSession(model.graph().SerializeToString())
    long = [np.array([4, 1, 0, 2, 3])]
    (served,) = session.run(None, {"history": padded(long, 5, 16)})
    assert np.abs(served - model.scores([np.array([0, 2, 3])])).max() < 1e-4
    assert np.abs(served - model.scores(long)).max() < 1e-4
