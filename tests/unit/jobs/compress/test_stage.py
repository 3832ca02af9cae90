"""The whole stage over a file store, on a real, tiny encoder: verdicts, lineage, resumption."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from metricvalues import metrics

from kaon.api.evaluation import Evaluation
from kaon.api.report import Result
from kaon.contract.jobspec import InputArtifact
from kaon.contract.manifest import ModelCard, Signature
from kaon_jobs.compress.trials.baseline import check_evaluation
from kaon_jobs.compress.verdict import message
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows, fetch_dataset, read_split
from kaon_jobs.errors import StageFailure
from kaon_jobs.measure.predictions import read_probabilities
from kaon_jobs.measure.quality import quality
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.programs import compress as stage
from kaon_jobs.programs import train as training
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.store.artifact import fetch, find, publish

# A tiny model gains no speed from INT8; what is asked here is size.
BUDGET = {"maxDrop": {"accuracy": 0.05, "macroF1": 0.05}, "minSizeRatio": 1.5}


def _work(trained: Result, dataset: Result, **changes: Any) -> dict[str, Any]:
    assert trained.artifact is not None and dataset.artifact is not None
    return {
        "stage": "compress",
        "task": "text-classification",
        "model": {"uri": trained.artifact.uri, "digest": trained.artifact.digest},
        "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
        "budget": BUDGET,
        "objective": "size",
        "strategy": "auto",
        "steps": None,
        "search": {"maxTrials": 2},
        "target": {"threads": 1},
        **changes,
    }


def _run(shop: Any, context: Context, work: dict[str, Any], token: str = "") -> tuple[Any, Result]:
    job = shop.job("compressionjobs", work, token)
    return job, stage.run(job, job.work, context)


@pytest.fixture
def accepted(shop: Any, trained: Result, dataset: Result, context: Context, tmp_path: Path) -> tuple[Any, Result, Path]:
    job, result = _run(shop, context, _work(trained, dataset), token=str(tmp_path))
    assert result.artifact is not None, result.compression
    target = tmp_path / "fetched"
    fetch(InputArtifact(uri=result.artifact.uri, digest=result.artifact.digest), target, kinds={"compressed-model"})
    return job, result, target


def test_an_accepted_model_is_an_artifact_with_lineage_evidence_and_golden_examples_of_its_own(
    accepted: tuple[Any, Result, Path], trained: Result, dataset: Result
) -> None:
    job, result, files = accepted
    found = result.compression
    assert found is not None and found.verdict == "Accepted" and found.evaluation is not None
    assert found.size_ratio is not None and found.size_ratio > 1.5
    assert found.speedup is not None and found.speedup.low <= found.speedup.value <= found.speedup.high
    assert found.source_digest == (trained.artifact and trained.artifact.digest)

    artifact = find(job)
    assert artifact is not None and artifact.manifest.kind == "compressed-model"
    assert trained.artifact is not None and dataset.artifact is not None
    assert artifact.manifest.inputs == {"model": trained.artifact.digest, "dataset": dataset.artifact.digest}

    classifier = OnnxTextModel(files, 1)
    assert artifact.manifest.model is not None and classifier.card.golden == artifact.manifest.model.golden
    made = classifier.card.recipe["compression"]
    assert made["steps"] and made["seed"] == 0
    assert (made["teacher"], made["dataset"]) == (trained.artifact.digest, dataset.artifact.digest)
    for example in classifier.card.golden:
        (probabilities,) = classifier.answers([example.text])
        assert np.abs(probabilities - np.asarray(example.answer)).max() < 1e-5

    probabilities = read_probabilities(files / "predictions-test.parquet")
    assert len(probabilities) == found.evaluation.rows == found.baseline.rows
    assert json.loads((files / "evaluation.json").read_text())["metrics"]["accuracy"][
        "value"
    ] == found.evaluation.value("accuracy")
    document = json.loads((files / "report.json").read_text())
    assert document["verdict"] == "Accepted" and document["final"]["split"] == "test"
    assert {trial["split"] for trial in document["trials"]} == {"validation"}
    assert document["finalSpeed"]["p99Ms"]["low"] <= document["finalSpeed"]["p99Ms"]["high"]
    assert {item["finding"] for item in document["decisions"]} == {"kept"}
    # The card of the final one has golden examples of its own, some hundred bytes.
    assert document["attribution"][-1]["sizeBytes"] == pytest.approx(document["final"]["sizeBytes"], rel=0.02, abs=500)
    assert all("ece" in document[name]["metrics"] for name in ("baseline", "evaluation"))
    html = (files / "report.html").read_text()
    assert "Verdict: Accepted" in html and "<svg" in html and "<script" not in html and "http" not in html


def test_the_recorded_predictions_are_those_of_the_compressed_model_and_give_the_recorded_accuracy(
    accepted: tuple[Any, Result, Path], dataset: Result, tmp_path: Path
) -> None:
    _, result, files = accepted
    assert dataset.artifact is not None and result.compression is not None
    source = InputArtifact(uri=dataset.artifact.uri, digest=dataset.artifact.digest)
    fetch_dataset(source, tmp_path / "data", ("test",))
    test = read_split(tmp_path / "data", "test")
    again = OnnxTextModel(files, 1).answers(test.inputs, batch_size=1)
    recorded = read_probabilities(files / "predictions-test.parquet")
    assert np.abs(again - recorded).max() < 1e-5
    assert result.compression.evaluation is not None
    accuracy = quality(test.targets, recorded, OnnxTextModel(files, 1).labels).metrics["accuracy"].value
    assert accuracy == result.compression.evaluation.value("accuracy")


def test_models_of_trials_are_gone_once_the_artifact_is_there_and_what_was_found_out_stays(
    accepted: tuple[Any, Result, Path],
) -> None:
    job, _, _ = accepted
    trials = Path(job.artifact.uri.removeprefix("file:///mnt")).parent / "trials"
    names = {path.name for path in trials.rglob("*") if path.is_file()}
    assert "trial.json" in names
    assert not {name for name in names if name.endswith((".onnx", ".safetensors"))}


def test_an_edited_budget_is_judged_by_the_trials_that_were_made_for_the_model(
    accepted: tuple[Any, Result, Path], shop: Any, trained: Result, dataset: Result, tmp_path: Path
) -> None:
    context = Context(Reporter(None, None), tmp_path / "again", "attempt-1")
    context.workdir.mkdir()
    job, result = _run(
        shop, context, _work(trained, dataset, budget={**BUDGET, "maxDrop": {"accuracy": 0.06, "macroF1": 0.05}})
    )
    assert result.compression is not None and result.compression.verdict == "Accepted"
    folder = Path(job.artifact.uri.removeprefix("file:///mnt")) / "attempt-1"
    assert all(trial["reused"] for trial in json.loads((folder / "report.json").read_text())["trials"])


def test_steps_have_figures_each_and_are_judged_as_they_are(
    shop: Any, trained: Result, dataset: Result, context: Context
) -> None:
    steps = [{"optimize": "transformer-fusion"}, {"quantize": {"scheme": "int8-static", "calibrationSamples": 32}}]
    job, result = _run(shop, context, _work(trained, dataset, strategy="steps", steps=steps))
    assert result.compression is not None and result.compression.verdict == "Accepted"
    assert result.compression.chosen == "fusion+int8-static(32 rows)"
    folder = Path(job.artifact.uri.removeprefix("file:///mnt")) / "attempt-1"
    document = json.loads((folder / "report.json").read_text())
    assert [trial["name"] for trial in document["trials"]] == ["fusion", "fusion+int8-static(32 rows)"]
    assert all("accuracy" in trial["drops"] and "speedup" in trial for trial in document["trials"])


def test_a_step_that_cannot_be_done_fails_with_its_place_and_cause(
    shop: Any, trained: Result, dataset: Result, context: Context
) -> None:
    steps = [{"quantize": {"scheme": "int8-dynamic", "exclude": ["layer.77"]}}]
    with pytest.raises(StageFailure, match=r"spec\.steps\[0\].*layer\.77") as failure:
        _run(shop, context, _work(trained, dataset, strategy="steps", steps=steps))
    assert failure.value.reason == "StepFailed" and not failure.value.retriable


def test_a_budget_beyond_the_bound_is_infeasible_before_anything_is_trained_and_says_what_is_possible(
    shop: Any, trained: Result, dataset: Result, context: Context
) -> None:
    budget = {"maxDrop": {"accuracy": 0.05}, "minSizeRatio": 50}
    job, result = _run(shop, context, _work(trained, dataset, budget=budget, search={"maxTrials": 12, "linear": False}))
    found = result.compression
    assert found is not None and found.verdict == "Infeasible" and result.artifact is None
    assert "50 times smaller" in found.message and "nearest" in found.message and "minSizeRatio" in found.message
    names = [item.name for item in found.candidates]
    assert not any(item.meets_budget for item in found.candidates)
    assert not any("distill" in name for name in names), "found out before anything is trained"
    assert found.baseline.value("accuracy") is not None and found.evaluation is None
    artifact = find(job)
    assert artifact is not None and artifact.manifest.kind == "verdict"
    assert {file.path for file in artifact.manifest.files} == {"report.json", "report.html"}
    assert artifact.result(reused=True).artifact is None


def test_a_slower_model_is_not_accepted_when_the_objective_is_latency(
    shop: Any, trained: Result, dataset: Result, context: Context
) -> None:
    # Batches of one through three tiny matrices: quantizing activations costs more than it saves.
    steps = [{"quantize": {"scheme": "int8-dynamic"}}]
    work = _work(
        trained, dataset, objective="latency", strategy="steps", steps=steps, budget={"maxDrop": {"accuracy": 0.05}}
    )
    job, result = _run(shop, context, work)
    found = result.compression
    assert found is not None and found.speedup is not None
    assert (found.verdict == "Accepted") == (found.speedup.low >= 1)
    if found.verdict != "Accepted":
        assert result.artifact is None and re.search("slower than|not shown to be faster", found.message)
        artifact = find(job)
        assert artifact is not None and "predictions-test.parquet" in {file.path for file in artifact.manifest.files}


def test_a_model_of_another_dataset_is_refused(
    shop: Any, trained: Result, dataset: Result, context: Context, tmp_path: Path
) -> None:
    from kaon_jobs.programs import dataset as data_stage

    other = shop.job("datasets", shop.dataset_work(split={"validation": 0.3}))
    work: Any = other.work
    (tmp_path / "other").mkdir()
    made = data_stage.run(other, work, Context(context.reporter, tmp_path / "other", "attempt-1"))
    with pytest.raises(StageFailure, match="rows of its training could lie in the test split") as failure:
        _run(shop, context, _work(trained, made))
    assert failure.value.reason == "DatasetMismatch" and not failure.value.retriable


def test_a_test_split_that_the_model_was_trained_on_is_refused_with_the_rows(
    shop: Any, trained: Result, dataset: Result, context: Context, tmp_path: Path
) -> None:
    assert trained.artifact is not None and dataset.artifact is not None
    data, files = tmp_path / "data", tmp_path / "files"
    whole = fetch(InputArtifact(uri=dataset.artifact.uri, digest=dataset.artifact.digest), data, kinds={"dataset"})
    test, train = (pq.read_table(data / f"{split}.parquet") for split in ("test", "train"))
    texts = [str(test["text"][5]).upper(), *train["text"].to_pylist()[1:]]
    pq.write_table(train.set_column(train.schema.get_field_index("text"), "text", [texts]), data / "train.parquet")
    job = shop.job("datasets", shop.dataset_work(), token=str(data)).model_copy(update={"content": {}})
    leaking = publish(job, data, kind="dataset", attempt="attempt-1", result=whole.manifest.result)
    assert leaking.artifact is not None
    model = fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), files, kinds={"model"})
    of_it = publish(
        shop.job("trainingruns", shop.train_work(leaking), token=str(files)).model_copy(update={"content": {}}),
        files,
        kind="model",
        attempt="attempt-1",
        result=model.manifest.result,
        model=model.manifest.model,
    )
    rows = f"train rows {train['row_id'][0]} \\(test {test['row_id'][5]}\\)"
    with pytest.raises(StageFailure, match=rows) as failure:
        _run(shop, context, _work(of_it, leaking))
    assert failure.value.reason == "TestSplitLeaked" and not failure.value.retriable


def _changed(
    shop: Any, trained: Result, dataset: Result, scratch: Path, tensor_name: str, row: int, value: float
) -> Result:
    """An artifact like the trained model's, recorded evaluation and golden examples included, with other weights."""
    assert trained.artifact is not None
    artifact = fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), scratch, kinds={"model"})
    model = onnx.load(scratch / "model.onnx")
    table = next(tensor for tensor in model.graph.initializer if tensor_name in tensor.name)
    values = onnx.numpy_helper.to_array(table).copy()
    values[row] = value
    table.CopyFrom(onnx.numpy_helper.from_array(values, table.name))
    onnx.save(model, scratch / "model.onnx")
    (scratch / "model.safetensors").unlink()
    return publish(
        shop.job("trainingruns", shop.train_work(dataset), token=str(scratch)).model_copy(update={"content": {}}),
        scratch,
        kind="model",
        attempt="attempt-1",
        result=artifact.manifest.result,
        model=artifact.manifest.model,
    )


def test_a_model_that_no_longer_answers_as_it_was_recorded_is_not_compressed(
    shop: Any, trained: Result, dataset: Result, context: Context, tmp_path: Path
) -> None:
    broken = _changed(shop, trained, dataset, tmp_path / "broken", "classifier.bias", 0, 50.0)
    with pytest.raises(StageFailure, match=r"golden example \d differs") as failure:
        _run(shop, context, _work(broken, dataset))
    assert failure.value.reason == "ParityFailed" and not failure.value.retriable


@pytest.mark.parametrize(
    "changes",
    [{"metrics": metrics(accuracy=0.5, macroF1=1.0)}, {"metrics": metrics(accuracy=1.0, macroF1=0.5)}, {"rows": 7}],
)
def test_a_recorded_evaluation_that_is_not_reproduced_is_refused(changes: dict[str, Any]) -> None:
    truth = np.array([0, 1] * 50)
    rows = Rows([""] * 100, truth, truth)
    probabilities = np.eye(2, dtype=np.float32)[truth]
    recorded = Evaluation(split="test", rows=100, metrics=metrics(accuracy=1.0, macroF1=1.0))
    card = ModelCard(
        task="text-classification", labels=["a", "b"], signature=Signature(inputs=[], outputs=[]), serving_files=[]
    )
    check_evaluation(recorded, rows, probabilities, card)
    with pytest.raises(StageFailure, match="does not reproduce its evaluation"):
        check_evaluation(recorded.model_copy(update=changes), rows, probabilities, card)


def test_when_int8_costs_too_much_the_nodes_that_suffer_are_found_and_left_in_full_precision(
    shop: Any, trained: Result, dataset: Result, context: Context, tmp_path: Path
) -> None:
    # A huge value in the embedding of a token that no text has: the same answers, but a range that leaves the table,
    # stored in INT8, next to no steps for all other tokens.
    spiked = _changed(shop, trained, dataset, tmp_path / "spiked", "word_embeddings", 4, 400.0)
    # The search may take INT8 elsewhere only: the budget asks for a little less size, and without the trained form
    # there is no structure to search.
    work = _work(spiked, dataset, budget={**BUDGET, "minSizeRatio": 1.1}, search={"maxTrials": 4, "linear": False})
    job, result = _run(shop, context, work)
    found = result.compression
    assert found is not None and found.verdict == "Accepted", found.message
    assert found.chosen is not None and "exclude" in found.chosen
    folder = Path(job.artifact.uri.removeprefix("file:///mnt")) / "attempt-1"
    document = json.loads((folder / "report.json").read_text())
    assert [trial["standing"] for trial in document["trials"]] == ["breaks", "breaks", "breaks", "keeps"]
    divergences = [item["divergence"] for item in document["sensitivity"]]
    assert divergences[0] > 10 * divergences[1]


def test_a_pod_that_is_stopped_repeats_no_finished_trial(
    shop: Any, trained: Result, dataset: Result, kaon_job: Callable[..., subprocess.Popen[str]]
) -> None:
    job = shop.job("compressionjobs", _work(trained, dataset, search={"maxTrials": 3, "seed": 77}), "resume")
    folder = Path(job.artifact.uri.removeprefix("file:///mnt"))
    before = set(folder.parent.glob("trials/*/*/trial.json"))

    def finished() -> set[Path]:
        return set(folder.parent.glob("trials/*/*/trial.json")) - before

    first = kaon_job(job)
    deadline = time.monotonic() + 240
    while not finished():
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 143, output
    kept = finished()
    assert kept and not (folder / "kaon.json").exists()

    second = kaon_job(job)
    output, _ = second.communicate(timeout=400)
    assert second.returncode == 0, output
    assert output.count("finished by an earlier attempt") == len(kept)
    artifact = find(job)
    assert artifact is not None
    document = json.loads((folder / artifact.manifest.attempt / "report.json").read_text())
    assert sum(trial["reused"] for trial in document["trials"]) == len(kept)


def test_a_linear_model_over_words_ends_in_a_sentence_that_says_why_nothing_smaller_was_made(
    shop: Any, dataset: Result, context: Context, tmp_path: Path
) -> None:
    job = shop.job(
        "trainingruns", {**shop.train_work(dataset), "model": {"base": "builtin:linear"}, "recipe": {"seed": 1}}
    ).model_copy(update={"content": {}})
    (tmp_path / "train").mkdir()
    linear = training.run(job, job.work, Context(Reporter(None, None), tmp_path / "train", "attempt-1"))
    _, result = _run(shop, context, _work(linear, dataset, budget={"maxDrop": {"accuracy": 0.05}}, search={}))
    found = result.compression
    assert found is not None and found.verdict == "Infeasible" and result.artifact is None
    assert "int8-dynamic" in found.message and "not smaller than the baseline" in found.message


def test_where_no_technique_can_do_anything_the_sentence_names_each_with_its_cause() -> None:
    text = message.impossible(31_000, ["int8-dynamic: the graph holds no weights"] * 2)
    assert text == (
        "Nothing smaller or faster can be made of this model, which has 31.0 kB: int8-dynamic: the graph holds no "
        "weights. Deploy the TrainingRun's model as it is"
    )
