"""Models of tables: what techniques do to their graphs, and the whole stage over them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kaon.api.compressionjob import Step
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon_jobs.compress.families import channels, graph, trees
from kaon_jobs.compress.families.kinds import kind_of
from kaon_jobs.compress.families.network import Network
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.training.views import mixed_rows
from kaon_jobs.compress.trials.leak import check_held_out
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure, TechniqueFailed
from kaon_jobs.measure.predictions import read_answers
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.opening import open_model
from kaon_jobs.programs import compress as stage
from kaon_jobs.store.artifact import fetch

from .tabular import TASKS, Kind, Table, publish_dataset, publish_model, table, write_model

PREDICTS = ("number", "class")


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {predicts: table(predicts) for predicts in PREDICTS}


@pytest.fixture(scope="module")
def models(tables: dict[str, Table], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a model, by what it predicts and its kind; made when it is first asked for."""
    made: dict[tuple[str, str], Path] = {}

    def model(predicts: str, kind: Kind) -> Path:
        if (predicts, kind) not in made:
            folder = tmp_path_factory.mktemp("table") / kind
            made[predicts, kind] = write_model(folder, tables[predicts], kind)
        return made[predicts, kind]

    return model


def _apply(step: dict[str, Any], source: Path, target: Path, data: Table, teacher: Path | None = None) -> Path:
    target.mkdir()
    (target / CARD_FILE).write_bytes((source / CARD_FILE).read_bytes())
    lessons = Lessons(data.train, 0, teacher or source, threads=1)
    technique_of(Step.model_validate(step), kind_of(source)).apply(source, target, lessons)
    check_edges(target, data.train.inputs)
    return target


def _error(folder: Path, data: Table) -> float:
    """Root mean squared error, or share of wrong classes, on the test rows."""
    answers = open_model(folder, 1).answers(data.test.inputs)
    if data.labels:
        return float(np.mean(answers.argmax(axis=1) != data.test.targets))
    return float(np.sqrt(np.mean((answers[:, 0] - data.test.targets) ** 2)))


@pytest.mark.parametrize("predicts", PREDICTS)
def test_kinds_are_told_by_the_graph(models: Any, predicts: str) -> None:
    kinds = {kind: kind_of(models(predicts, kind)) for kind in ("trees", "network", "linear")}
    assert kinds == {"trees": "trees", "network": "network", "linear": "network"}


@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_first_trees_are_those_of_every_booster_and_class_and_answer_as_boosting_meant_them(
    models: Any, tables: dict[str, Table], tmp_path: Path, predicts: str
) -> None:
    source, data = models(predicts, "trees"), tables[predicts]
    before = graph.load(source)
    assert trees.most_trees(before) == 160, "two boosters of 80 rounds"
    made = _apply({"prune": {"method": "trees", "ratio": 0.5}}, source, tmp_path / "half", data)
    after = graph.load(made)
    assert trees.most_trees(after) == 80
    told = graph.attributes(trees.ensembles(after)[0])
    ids = sorted(set(told["nodes_treeids"]))
    assert ids == list(range(80 * max(1, len(data.labels)))), "numbered anew"
    assert set(told["target_treeids"]) == set(ids)
    assert (made / MODEL_FILE).stat().st_size < 0.6 * (source / MODEL_FILE).stat().st_size
    whole, half = _error(source, data), _error(made, data)
    few = _error(_apply({"prune": {"method": "trees", "ratio": 0.98}}, source, tmp_path / "few", data), data)
    assert half < whole + 0.5 * (few - whole) and few > 1.2 * whole


def test_figures_that_no_runtime_reads_go_and_tensors_are_cut_like_lists(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1], "nodes_nodeids": [0, 1, 2] * 2, "nodes_featureids": [0] * 6,
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * 2, "nodes_values": [0.5, 0.0, 0.0] * 2,
        "nodes_truenodeids": [1, 0, 0] * 2, "nodes_falsenodeids": [2, 0, 0] * 2, "nodes_hitrates": [1.0] * 6,
        "target_treeids": [0, 0, 1, 1], "target_nodeids": [1, 2] * 2, "target_ids": [0] * 4,
        "target_weights_as_tensor": onnx.numpy_helper.from_array(np.array([1.0, 2.0, 10.0, 20.0]), "w"),
        "n_targets": 1, "base_values": [100.0],
    }  # fmt: skip
    node = onnx.helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", **attributes)
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
    told = graph.attributes(trees.ensembles(trees.first_trees(model, 0.5))[0])
    assert "nodes_hitrates" not in told and told["base_values"] == [100.0]
    assert told["nodes_treeids"] == [0, 0, 0] and told["target_treeids"] == [0, 0]
    assert onnx.numpy_helper.to_array(told["target_weights_as_tensor"]).tolist() == [1.0, 2.0]
    assert len(told["nodes_modes"]) == 3


@pytest.mark.parametrize("predicts", PREDICTS)
def test_nets_that_were_trained_side_by_side_are_branches_that_torch_and_onnxruntime_answer_alike(
    models: Any, tables: dict[str, Table], tmp_path: Path, predicts: str
) -> None:
    source, data = models(predicts, "network"), tables[predicts]
    model = graph.load(source)
    assert len([node for node in model.graph.node if node.op_type == "MatMul"]) == 6
    assert [group.count for group in channels.groups(graph.unshared(model)) if group.count > 3] == [64] * 4
    given = Lessons(data.train, 0, source, threads=1).numbers([*data.test.inputs[:50], (None,) * 4])
    (tmp_path / CARD_FILE).write_bytes((source / CARD_FILE).read_bytes())
    graph.save(model, tmp_path)
    one, other = (open_model(folder, 1) for folder in (source, tmp_path))
    expected = one.run({one.input_names[0]: np.stack(given)})
    scale = np.abs(expected).max()
    assert np.abs(other.run({one.input_names[0]: np.stack(given)}) - expected).max() < 1e-5 * scale
    import torch

    found = Network(model)(torch.from_numpy(np.stack(given))).detach().numpy()
    assert np.abs(found - expected).max() < 1e-5 * scale


@pytest.mark.parametrize("predicts", PREDICTS)
def test_a_pruned_network_learns_again_what_it_lost(
    models: Any, tables: dict[str, Table], tmp_path: Path, predicts: str
) -> None:
    source, data = models(predicts, "network"), tables[predicts]
    pruned = _apply({"prune": {"method": "channels", "ratio": 0.75}}, source, tmp_path / "pruned", data)
    taught = _apply({"distill": {"epochs": 30}}, pruned, tmp_path / "taught", data, source)
    tuned = _apply({"finetune": {"epochs": 20, "learningRate": 0.001}}, pruned, tmp_path / "tuned", data)
    before, lost, after, again = (_error(folder, data) for folder in (source, pruned, taught, tuned))
    assert lost > 1.2 * before
    assert after < before + 0.5 * (lost - before) and again < before + 0.5 * (lost - before)


@pytest.mark.parametrize("predicts", PREDICTS)
@pytest.mark.parametrize(
    "step",
    [
        {"quantize": {"scheme": "int8-dynamic"}},
        {"quantize": {"scheme": "int8-static", "calibrationSamples": 64}},
        {"quantize": {"scheme": "fp16"}},
        {"lowRank": {"energy": 0.8}},
    ],
    ids=["int8-dynamic", "int8-static", "fp16", "low-rank"],
)
def test_a_network_over_a_table_is_stored_in_less_and_answers_alike(
    models: Any, tables: dict[str, Table], tmp_path: Path, predicts: str, step: dict[str, Any]
) -> None:
    source, data = models(predicts, "network"), tables[predicts]
    made = _apply(step, source, tmp_path / "made", data)
    assert (made / MODEL_FILE).stat().st_size < (source / MODEL_FILE).stat().st_size
    assert _error(made, data) < 1.3 * _error(source, data)


@pytest.mark.parametrize(
    ("kind", "step", "says"),
    [
        (
            "trees",
            {"quantize": {"scheme": "int8-dynamic"}},
            "quantize with scheme: int8-dynamic is for .* networks and models that rank items, and",
        ),
        ("trees", {"prune": {"method": "channels", "ratio": 0.5}}, "use prune with method: trees"),
        ("trees", {"distill": {}}, "distill is for text encoders and networks, and this is an ensemble of trees"),
        ("network", {"prune": {"method": "trees", "ratio": 0.5}}, "use prune with method: channels"),
        ("network", {"optimize": "transformer-fusion"}, "optimize: transformer-fusion is for text encoders"),
        ("network", {"linear": {}}, "linear is for text encoders and models of texts"),
        ("network", {"vocabulary": {}}, "vocabulary is for text encoders, and this is a network"),
        ("linear", {"prune": {"method": "channels", "ratio": 0.5}}, "no channels that could go"),
    ],
)
def test_what_is_for_other_models_says_so_by_name(
    models: Any, tables: dict[str, Table], tmp_path: Path, kind: Kind, step: dict[str, Any], says: str
) -> None:
    with pytest.raises(TechniqueFailed, match=says):
        _apply(step, models("number", kind), tmp_path / "refused", tables["number"])


def test_a_temperature_is_for_classes(models: Any, tables: dict[str, Table], tmp_path: Path) -> None:
    with pytest.raises(TechniqueFailed, match="predicts a number"):
        _apply({"distill": {"temperature": 3}}, models("number", "network"), tmp_path / "refused", tables["number"])


def test_views_of_a_table_mix_numbers_and_leave_everything_else() -> None:
    rows = [(1.0, "red", None, "2024-01-01"), (3.0, "blue", 4.0, "2024-02-01"), (None, None, 8.0, None)] * 5
    assert mixed_rows(rows, 0, 7) == rows
    found = mixed_rows(rows, 1, 7)
    assert found == mixed_rows(rows, 1, 7) and found != mixed_rows(rows, 2, 7)
    for row, view in zip(rows, found, strict=True):
        assert row[1] == view[1] and row[3] == view[3]
        assert all((one is None) == (other is None) for one, other in zip(row, view, strict=True))
    assert 1.0 <= min(view[0] for view in found if view[0] is not None) <= 3.0


def test_of_a_table_two_rows_may_be_alike_and_one_row_may_not_be_in_two_splits() -> None:
    inputs: list[Any] = [(1.0, "a"), (2.0, "b")]
    targets = np.zeros(2)
    test = Rows(inputs, targets, np.array([10, 11]))
    check_held_out(test, {"train": Rows(inputs, targets, np.array([0, 1]))})
    with pytest.raises(StageFailure, match=r"1 row outside .* have the id of a test row: train rows 11 \(test 11\)"):
        check_held_out(test, {"train": Rows(inputs, targets, np.array([0, 11]))})


# -- the whole stage --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def datasets(shop: Any, tables: dict[str, Table], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kaon_jobs.store.options._identity", {})
        folder = tmp_path_factory.mktemp("datasets")
        return {predicts: publish_dataset(shop, tables[predicts], folder / predicts) for predicts in PREDICTS}


def _compress(
    shop: Any, data: Table, dataset: Result, kind: Kind, tmp_path: Path, context: Context, **changes: Any
) -> tuple[Result, Path]:
    model = publish_model(shop, data, dataset, kind, tmp_path / "model")
    assert model.artifact is not None and dataset.artifact is not None
    work = {
        "stage": "compress",
        "task": TASKS[data.predicts],
        "model": {"uri": model.artifact.uri, "digest": model.artifact.digest},
        "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
        "budget": {"maxDrop": {"rmse": 2.0} if data.predicts == "number" else {"accuracy": 0.1}},
        "objective": "size",
        "strategy": "auto",
        "steps": None,
        "search": {"maxTrials": 8},
        "target": {"threads": 1},
        **changes,
    }
    job = shop.job("compressionjobs", work, str(tmp_path))
    return stage.run(job, job.work, context), Path(job.artifact.uri.removeprefix("file:///mnt")) / "attempt-1"


@pytest.mark.parametrize("predicts", PREDICTS)
def test_auto_finds_the_fewest_trees_that_keep_the_budget(
    shop: Any, tables: dict[str, Table], datasets: dict[str, Result], tmp_path: Path, context: Context, predicts: str
) -> None:
    data = tables[predicts]
    result, folder = _compress(shop, data, datasets[predicts], "trees", tmp_path, context)
    found = result.compression
    assert found is not None and found.verdict == "Accepted" and found.evaluation is not None, found
    assert re.fullmatch(r"prune-trees\(0\.\d+\)", found.chosen or "") and (found.size_ratio or 0) > 1.5
    document = json.loads((folder / "report.json").read_text())
    assert document["predicts"] == predicts and "trees" in document["searchEnded"]
    html = (folder / "report.html").read_text()
    assert ("RMSE rise" in html, "Recall by class" in html) == (predicts == "number", predicts == "class")
    assert (found.flip_rate is None, found.class_recall_drop is None) == ((predicts == "number",) * 2)
    assert set(found.drops) == ({"rmse", "mae"} if predicts == "number" else {"accuracy", "macroF1"})
    assert result.artifact is not None
    files = tmp_path / "fetched"
    fetch(InputArtifact(uri=result.artifact.uri, digest=result.artifact.digest), files, kinds={"compressed-model"})
    model = open_model(files, 1)
    again = model.answers(data.test.inputs, batch_size=1)
    assert np.abs(again - read_answers(files / "predictions-test.parquet")).max() < 1e-4
    assert all(example.row is not None for example in model.card.golden)


@pytest.mark.parametrize("predicts", PREDICTS)
def test_steps_on_a_network_are_judged_on_the_test_rows(
    shop: Any, tables: dict[str, Table], datasets: dict[str, Result], tmp_path: Path, context: Context, predicts: str
) -> None:
    steps = [
        {"prune": {"method": "channels", "ratio": 0.5}},
        {"distill": {"epochs": 20}},
        {"quantize": {"scheme": "int8-dynamic"}},
    ]
    budget = {"maxDrop": {"rmse": 4.0} if predicts == "number" else {"accuracy": 0.2}}
    result, folder = _compress(
        shop, tables[predicts], datasets[predicts], "network", tmp_path, context,
        strategy="steps", steps=steps, budget=budget,
    )  # fmt: skip
    assert result.compression is not None and result.compression.verdict == "Accepted", result.compression
    document = json.loads((folder / "report.json").read_text())
    assert [item["name"] for item in document["attribution"]][-1] == "int8-dynamic"


def test_a_linear_model_of_a_table_ends_in_a_sentence(
    shop: Any, tables: dict[str, Table], datasets: dict[str, Result], tmp_path: Path, context: Context
) -> None:
    result, _ = _compress(shop, tables["number"], datasets["number"], "linear", tmp_path, context)
    found = result.compression
    assert (found is not None and found.verdict in ("Infeasible", "Rejected") and result.artifact is None) or (
        found is not None and found.verdict == "Accepted"
    )
    assert found.message


def test_a_budget_that_no_share_of_the_trees_keeps_is_infeasible_and_names_the_nearest(
    shop: Any, tables: dict[str, Table], datasets: dict[str, Result], tmp_path: Path, context: Context
) -> None:
    budget = {"maxDrop": {"rmse": 0.001}, "minSizeRatio": 4}
    result, _ = _compress(shop, tables["number"], datasets["number"], "trees", tmp_path, context, budget=budget)
    found = result.compression
    assert found is not None and found.verdict == "Infeasible" and result.artifact is None
    assert "RMSE rise" in found.message and "The nearest, prune-trees" in found.message
