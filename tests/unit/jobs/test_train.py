"""The train stage on a tiny encoder: what it leaves, how it stops and resumes, what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import TrainerControl, TrainerState

from kaon.api.report import Result
from kaon.api.trainingrun import Recipe
from kaon.contract.jobspec import InputArtifact, JobSpec
from kaon.contract.manifest import Manifest
from kaon_jobs.context import Context
from kaon_jobs.errors import ArtifactCorrupted, StageFailure
from kaon_jobs.learn.callbacks import BestWeights, ProgressReport
from kaon_jobs.learn.loop import GroupedByLength, Loss
from kaon_jobs.measure.predictions import read_probabilities
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.programs import train as stage
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.store.artifact import fetch
from kaon_jobs.store.objectstore import folder_digest, sha256_file
from kaon_jobs.tasks.text_classification import encoder

Start = Callable[..., "subprocess.Popen[str]"]


def folder(result: Result) -> Path:
    assert result.artifact is not None
    return Path(result.artifact.uri.removeprefix("file:///mnt"))


def manifest_of(result: Result) -> Manifest:
    return Manifest.model_validate_json((folder(result) / "kaon.json").read_bytes())


def run(job: JobSpec, workdir: Path) -> Result:
    workdir.mkdir()
    work: Any = job.work
    return stage.run(job, work, Context(Reporter(None, None), workdir, workdir.name))


def test_a_tiny_model_learns_its_data(trained: Result) -> None:
    assert trained.training is not None
    evaluation = trained.training.evaluation
    assert evaluation.split == "test" and evaluation.rows == 90
    assert evaluation.value("accuracy") is not None and evaluation.value("accuracy") > 0.9
    assert evaluation.latency_ms is not None and 0 < evaluation.latency_ms.p50 <= evaluation.latency_ms.p99
    assert evaluation.peak_memory_bytes is not None and evaluation.isa


def test_the_artifact_holds_the_model_its_weights_and_its_evidence(trained: Result, dataset: Result) -> None:
    manifest = manifest_of(trained)
    files = {file.path for file in manifest.files}
    assert files >= {
        "model.onnx",
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
        "model.safetensors",
        "card.json",
        "evaluation.json",
        "predictions-test.parquet",
        "predictions-validation.parquet",
        "report.html",
    }
    assert manifest.kind == "model" and manifest.model is not None and dataset.artifact is not None
    assert manifest.inputs["dataset"] == dataset.artifact.digest
    assert manifest.model.labels == ["bird", "fish", "tree"]
    assert set(manifest.model.serving_files) <= files
    assert not (folder(trained) / "checkpoints").exists() or not list((folder(trained) / "checkpoints").rglob("*.*"))


def test_golden_examples_are_answered_again_by_the_exported_model(trained: Result, tmp_path: Path) -> None:
    assert trained.artifact is not None
    artifact = fetch(InputArtifact(uri=trained.artifact.uri, digest=trained.artifact.digest), tmp_path, kinds={"model"})
    assert artifact.manifest.model is not None
    golden = artifact.manifest.model.golden
    assert len(golden) >= 8 and {example.label for example in golden} == {"bird", "fish", "tree"}
    classifier = OnnxTextModel(tmp_path, 1)
    lengths = [len(classifier.tokenizer.encode(example.text).ids) for example in golden]
    assert "" in [example.text for example in golden] and max(lengths) == 16
    for example in golden:
        (answer,) = classifier.answers([example.text])
        np.testing.assert_allclose(answer, example.answer, atol=1e-4)


def test_the_report_tells_how_much_of_the_texts_the_vocabulary_does_not_know(trained: Result) -> None:
    page = (folder(trained) / manifest_of(trained).attempt / "report.html").read_text()
    assert "characters that the vocabulary does not know" in page and "0.00% of" in page


def test_recorded_predictions_give_the_recorded_accuracy(trained: Result) -> None:
    attempt = folder(trained) / manifest_of(trained).attempt
    probabilities = read_probabilities(attempt / "predictions-test.parquet")
    assert probabilities.shape == (90, 3)
    truth = np.arange(90) % 3  # the fixture's classes take turns
    accuracy = json.loads((attempt / "evaluation.json").read_text())["metrics"]["accuracy"]["value"]
    assert (probabilities.argmax(axis=1) == truth).mean() == pytest.approx(accuracy, abs=1e-6)


def test_one_changed_byte_of_the_dataset_is_refused_before_training(shop: Any, dataset: Result, tmp_path: Path) -> None:
    path = folder(dataset) / manifest_of(dataset).attempt / "train.parquet"
    original = path.read_bytes()
    path.write_bytes(original[:100] + bytes([original[100] ^ 1]) + original[101:])
    try:
        with pytest.raises(ArtifactCorrupted, match=r"train\.parquet is not what the manifest names"):
            run(shop.job("trainingruns", shop.train_work(dataset), token="corrupt"), tmp_path / "a")
    finally:
        path.write_bytes(original)


def weights(result: Result) -> str:
    return next(file.sha256 for file in manifest_of(result).files if file.path == "model.safetensors")


def test_sigterm_checkpoints_and_the_next_attempt_goes_on_at_that_step_to_the_same_weights(
    shop: Any, dataset: Result, kaon_job: Start, tmp_path: Path
) -> None:
    # With dropout the weights depend on every random state, not on the order of the rows alone.
    long = {"epochs": 20, "dropout": 0.2, "earlyStopping": {"metric": "macroF1", "patience": 100}}
    job = shop.job("trainingruns", shop.train_work(dataset, {"everySteps": 20}, **long), token="stopped")
    runs = Path(job.output.uri.removeprefix("file:///mnt"))
    before = set(runs.glob("*"))
    first = kaon_job(job, OMP_NUM_THREADS="1")
    assert first.stdout is not None
    for line in first.stdout:
        if "checkpoint at step" in line:
            break
    time.sleep(0.5)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 143, output
    assert "stopped by SIGTERM" in output
    (folder,) = set(runs.glob("*")) - before
    assert not (folder / "kaon.json").exists()
    stopped_at = max(int(path.parent.name) for path in (folder / "checkpoints").glob("*/checkpoint.json"))
    assert 20 <= stopped_at < 240

    second = kaon_job(job, OMP_NUM_THREADS="1")
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert f"resumed from step {stopped_at}" in output
    resumed = Manifest.model_validate_json((folder / "kaon.json").read_bytes())

    whole = shop.job("trainingruns", shop.train_work(dataset, {"everySteps": 20}, **long), token="never stopped")
    before = set(runs.glob("*"))
    third = kaon_job(whole, OMP_NUM_THREADS="1")
    output, _ = third.communicate(timeout=120)
    assert third.returncode == 0, output
    (folder,) = set(runs.glob("*")) - before
    unbroken = Manifest.model_validate_json((folder / "kaon.json").read_bytes())
    of = {
        name: next(file.sha256 for file in manifest.files if file.path == "model.safetensors")
        for name, manifest in (("resumed", resumed), ("unbroken", unbroken))
    }
    assert of["resumed"] == of["unbroken"]


def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(
    shop: Any, dataset: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.job("trainingruns", shop.train_work(dataset, {"keep": 2}), token="damaged")

    def broken(*args: Any) -> None:
        raise StageFailure("ParityFailed", "for this test")

    runs = Path(job.output.uri.removeprefix("file:///mnt"))
    before = set(runs.glob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "export_onnx", broken)
        with pytest.raises(StageFailure, match="for this test"):
            run(job, tmp_path / "one")
    (folder,) = set(runs.glob("*")) - before
    checkpoints = folder / "checkpoints"
    steps = sorted(int(path.parent.name) for path in checkpoints.glob("*/checkpoint.json"))
    assert len(steps) == 2
    (checkpoints / str(steps[1]) / "one" / "optimizer.pt").write_bytes(b"damaged")
    with caplog.at_level("INFO"):
        result = run(job, tmp_path / "two")
    assert f"checkpoint of step {steps[1]} is damaged" in caplog.text
    assert f"resumed from step {steps[0]}" in caplog.text
    assert result.artifact is not None


def test_early_stopping_ends_the_training_and_keeps_the_best_weights(
    shop: Any, dataset: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = shop.train_work(dataset, epochs=40, earlyStopping={"metric": "accuracy", "patience": 3})
    with caplog.at_level("INFO"):
        result = run(shop.job("trainingruns", work), tmp_path / "early")
    assert "step 480/480" not in caplog.text
    assert result.training is not None and (result.training.evaluation.value("accuracy") or 0) > 0.9


@pytest.mark.parametrize(
    "recipe",
    [
        {
            "scheduler": "cosine",
            "labelSmoothing": 0.1,
            "classWeights": "balanced",
            "gradientAccumulationSteps": 2,
            "dropout": 0.0,
        },
        {
            "scheduler": "constant",
            "gradientCheckpointing": True,
            "precision": "bf16",
            "warmupRatio": 1,
            "maxGradNorm": 0,
        },
        {"scheduler": "polynomial", "weightDecay": 0},
        {"scheduler": "constant_with_warmup", "precision": "fp32"},
    ],
)
def test_every_field_of_a_recipe_is_understood(
    shop: Any, dataset: Result, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    result = run(shop.job("trainingruns", shop.train_work(dataset, **{**recipe, "epochs": 1})), tmp_path / "x")
    assert result.training is not None and result.training.evaluation.value("accuracy") is not None


class TestRefusals:
    def refused(self, shop: Any, work: dict[str, Any], tmp_path: Path) -> StageFailure:
        with pytest.raises(StageFailure) as caught:
            run(shop.job("trainingruns", work), tmp_path / "refused")
        assert not caught.value.retriable
        return caught.value

    def test_a_base_model_that_is_not_there(self, shop: Any, dataset: Result, tmp_path: Path) -> None:
        work = {**shop.train_work(dataset), "model": {"base": f"file:///mnt{tmp_path}/nothing"}}
        failure = self.refused(shop, work, tmp_path)
        assert failure.reason == "ModelNotFound" and "It holds nothing" in failure.message

    def test_a_base_model_that_cannot_be_read(self, shop: Any, dataset: Result, tmp_path: Path) -> None:
        broken = tmp_path / "broken"
        broken.mkdir()
        for path in (shop.root / "model").iterdir():
            (broken / path.name).write_bytes(path.read_bytes())
        (broken / "model.safetensors").write_bytes(b"broken")
        failure = self.refused(shop, {**shop.train_work(dataset), "model": {"base": f"file:///mnt{broken}"}}, tmp_path)
        assert failure.reason == "ModelUnreadable" and str(broken) in failure.message

    def test_a_base_model_other_than_the_pinned_one(self, shop: Any, dataset: Result, tmp_path: Path) -> None:
        base = shop.root / "model"
        pin = folder_digest({path.name: sha256_file(path) for path in base.iterdir()})
        wrong = f"sha256:{'0' * 64}"
        work = shop.train_work(dataset, epochs=1)
        failure = self.refused(shop, {**work, "model": {"base": f"file:///mnt{base}", "digest": wrong}}, tmp_path)
        assert failure.reason == "ModelDigestMismatch" and pin in failure.message and wrong in failure.message
        pinned = {**work, "model": {"base": f"file:///mnt{base}", "digest": pin}}
        assert run(shop.job("trainingruns", pinned), tmp_path / "pinned").artifact is not None

    def test_a_sequence_longer_than_the_models_positions(self, shop: Any, dataset: Result, tmp_path: Path) -> None:
        failure = self.refused(shop, shop.train_work(dataset, maxSequenceLength=65), tmp_path)
        assert failure.reason == "SequenceTooLong" and "reads at most 64 tokens" in failure.message

    def test_weights_that_are_no_numbers(self, shop: Any, dataset: Result, tmp_path: Path) -> None:
        base = tmp_path / "nan"
        base.mkdir()
        for path in (shop.root / "model").iterdir():
            (base / path.name).write_bytes(path.read_bytes())
        poison(base)
        failure = self.refused(shop, {**shop.train_work(dataset), "model": {"base": f"file:///mnt{base}"}}, tmp_path)
        assert failure.reason == "ModelUnreadable" and "embeddings.LayerNorm.weight" in failure.message

    def test_a_training_that_diverges(self) -> None:
        report = ProgressReport(Reporter(None, None), 0, 100)
        state, control = TrainerState(global_step=7), TrainerControl()
        arguments: Any = None
        report.on_log(arguments, state, control, logs={"loss": 0.5})
        with pytest.raises(StageFailure) as caught:
            report.on_log(arguments, state, control, logs={"loss": float("nan")})
        assert caught.value.reason == "TrainingDiverged" and "learningRate" in caught.value.message

    def test_an_export_that_answers_otherwise(
        self, shop: Any, dataset: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        export = encoder.export_onnx

        def distorted(model: Any, path: Path) -> None:
            export(model, path)
            with torch.no_grad():
                model.classifier.bias += torch.tensor([0.1, 0.0, 0.0])

        monkeypatch.setattr(encoder, "export_onnx", distorted)
        failure = self.refused(shop, {**shop.train_work(dataset, epochs=1)}, tmp_path)
        assert failure.reason == "ParityFailed" and "0.1" in failure.message


def poison(base: Path) -> None:
    """Makes one weight NaN."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    tensors["embeddings.LayerNorm.weight"][0] = float("nan")
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def test_rows_are_drawn_from_seed_and_epoch_and_grouped_by_length() -> None:
    lengths = list(range(1, 101))
    sampler = GroupedByLength(lengths, 8, seed=4)
    first = list(sampler)
    assert sorted(first) == list(range(100))
    assert first == list(GroupedByLength(lengths, 8, seed=4))
    sampler.epoch = 1
    assert list(sampler) != first
    spread = [max(first[at : at + 8]) - min(first[at : at + 8]) for at in range(0, 96, 8)]
    assert max(spread) < 10


def test_balanced_weights_make_rare_classes_count_as_much_as_frequent_ones() -> None:
    labels = np.array([0] * 9 + [1])
    loss = Loss(Recipe(class_weights="balanced"), labels, 2)
    logits = torch.zeros(10, 2)
    even = loss({"logits": logits}, torch.tensor(labels))
    assert even.item() == pytest.approx(np.log(2), abs=1e-6)
    rare = loss({"logits": logits[9:]}, torch.tensor([1]), num_items_in_batch=1)
    frequent = loss({"logits": logits[:1]}, torch.tensor([0]), num_items_in_batch=1)
    assert rare.item() == pytest.approx(9 * frequent.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("metric", "values", "best", "exhausted"),
    [
        ("accuracy", [0.5, 0.7, 0.6], 0.7, False),
        ("accuracy", [0.5, 0.7, 0.6, 0.7], 0.7, True),
        ("loss", [0.5, 0.7, 0.4], 0.4, False),
        ("loss", [0.5, 0.7, 0.6], 0.5, True),
        ("ece", [0.5, 0.3, 0.4], 0.3, False),
    ],
)
def test_patience_is_counted_from_the_best_evaluation(
    tmp_path: Path, metric: str, values: list[float], best: float, exhausted: bool
) -> None:
    keeper = BestWeights(2, metric, tmp_path)
    for step, value in enumerate(values):
        state, control = type("State", (), {"global_step": step})(), type("Control", (), {})()
        keeper.on_evaluate(None, state, control, metrics={f"eval_{metric}": value}, model=torch.nn.Linear(1, 1))
    assert (keeper.best, keeper.exhausted) == (best, exhausted)
