"""The train and evaluate stages on images: builtin networks and base models, what they leave, what they refuse."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tinyvision
import torch
from pictures import CLASSES, file_of, png, shapes, write_zip
from PIL import Image
from transformers import AutoImageProcessor

from kaon.api.report import Result
from kaon.contract.jobspec import DatasetWork, EvaluateWork, TrainWork
from kaon.contract.manifest import Manifest
from kaon.tasks.registry import TASKS
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows, read_split
from kaon_jobs.errors import StageFailure, Terminated
from kaon_jobs.learn.images.nets import build
from kaon_jobs.learn.images.pixels import moved, suited
from kaon_jobs.learn.loop import Shuffled
from kaon_jobs.measure.golden import input_of
from kaon_jobs.predict.opening import open_model
from kaon_jobs.pretrained.processor import read_processor
from kaon_jobs.programs import dataset as dataset_stage
from kaon_jobs.programs import evaluate, train
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.runtime.image import ImageReader

TASK = "image-classification"
BUILTINS = [builtin.name for builtin in TASKS[TASK].builtins]
SCHEMA = {"features": [{"name": "image", "type": "image"}], "label": {"name": "kind"}}
QUICK: dict[str, Any] = {"epochs": 2, "learningRate": 0.002, "batchSize": 16}


def run_dataset(shop: Any, files: dict[str, bytes], workdir: Path) -> Result:
    """The dataset stage over an archive of the files."""
    archive = write_zip(workdir / "images.zip", files)
    work = {
        "stage": "dataset",
        "task": TASK,
        "sources": [{"uri": f"file:///mnt{archive}"}],
        "format": "auto",
        "schema": SCHEMA,
        "clean": {},
        "split": {"validation": 0.2, "test": 0.25},
    }
    job = shop.job("datasets", work, token=str(workdir))
    return dataset_stage.run(job, DatasetWork.model_validate(work), Context(Reporter(None, None), workdir, "attempt-1"))


@pytest.fixture(scope="module")
def images(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A Dataset of 120 grey shapes of 12 x 12 pixels."""
    return run_dataset(shop, shapes(40), tmp_path_factory.mktemp("images"))


def work_of(dataset: Result, base: str, checkpoint: dict[str, Any] | None = None, **recipe: Any) -> dict[str, Any]:
    assert dataset.artifact is not None
    return {
        "stage": "train",
        "task": TASK,
        "dataset": {"uri": dataset.artifact.uri, "digest": dataset.artifact.digest},
        "model": {"base": base},
        "recipe": recipe,
        "checkpoint": checkpoint or {},
    }


def trained(shop: Any, work: dict[str, Any], workdir: Path, **context: Any) -> Result:
    workdir.mkdir(parents=True)
    job = shop.job("trainingruns", work, token=context.pop("token", str(workdir)))
    told = Context(Reporter(None, None), workdir, workdir.name, **context)
    return train.run(job, TrainWork.model_validate(work), told)


def manifest_of(result: Result) -> Manifest:
    assert result.artifact is not None
    folder = Path(result.artifact.uri.removeprefix("file:///mnt"))
    return Manifest.model_validate_json((folder / "kaon.json").read_bytes())


def refusal(shop: Any, work: dict[str, Any], workdir: Path) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        trained(shop, work, workdir)
    assert caught.value.message.endswith(".") and not caught.value.retriable
    return caught.value


@pytest.mark.parametrize("name", BUILTINS)
def test_a_builtin_network_is_trained_proved_measured_and_recorded(
    shop: Any, images: Result, tmp_path: Path, name: str
) -> None:
    epochs = {"cnn": 12}.get(name, 2)
    result = trained(shop, work_of(images, f"builtin:{name}", **QUICK | {"epochs": epochs}), tmp_path / "run")
    assert result.training is not None
    evaluation = result.training.evaluation
    assert evaluation.metrics.keys() == {metric.name for metric in TASKS[TASK].metrics} and evaluation.rows == 30
    assert evaluation.baseline is not None and evaluation.baseline.name == "logistic regression on 16 x 16 pixels"
    assert evaluation.latency_ms is not None and evaluation.peak_memory_bytes and evaluation.size_bytes
    if name == "cnn":
        assert (evaluation.value("accuracy") or 0) > 0.8

    card = manifest_of(result).model
    assert card is not None and card.reads == "image" and card.image is not None
    assert card.image.model_dump() == {
        "height": 12, "width": 12, "channels": 1, "shortest": None, "scaled": None, "resample": "bilinear",
    }  # fmt: skip
    assert [(one.name, one.datatype, one.content) for one in card.signature.inputs] == [("image", "BYTES", "image")]
    assert card.serving_files == ["model.onnx", "card.json"] and result.signature == card.signature

    model = open_model(tmp_path / "run/model", 1)
    assert len(card.golden) == 8 + 5
    for golden in card.golden:
        (answer,) = model.answers([input_of(golden)])
        assert answer == pytest.approx(golden.answer, abs=card.golden_tolerance)
        assert golden.label == card.labels[int(answer.argmax())]
    graph = onnx.load(tmp_path / "run/model/model.onnx").graph
    assert [item.name for item in graph.input] == ["image"]
    dims = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 1, 12, 12]
    page = (tmp_path / "run/model/report.html").read_text()
    for said in ("parity of the exported model", "12 x 12 pixels, grey", "Confusion", "augmentation"):
        assert said in page


def test_the_page_shows_the_most_confident_mistakes(shop: Any, images: Result, tmp_path: Path) -> None:
    trained(shop, work_of(images, "builtin:cnn", epochs=1, learningRate=1e-5), tmp_path / "run")
    page = (tmp_path / "run/model/report.html").read_text()
    assert "Most confident mistakes" in page and 'src="data:image/png;base64,' in page
    shares = [int(part.split("%")[0]) for part in page.split(", said ")[1:] for part in [part.split("(")[1]]]
    assert 5 < len(shares) <= 24 and shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("family", tinyvision.FAMILIES)
def test_a_base_model_is_trained_and_reads_images_as_its_files_say(
    shop: Any, images: Result, tmp_path: Path, family: str
) -> None:
    tinyvision.write_model(tmp_path / "base", family)
    work = work_of(images, f"file:///mnt{tmp_path}/base", epochs=1)
    result = trained(shop, work, tmp_path / "run")
    card = manifest_of(result).model
    assert card is not None and card.image is not None and (card.image.height, card.image.channels) == (32, 3)
    assert result.training is not None and result.training.evaluation.rows == 30
    # The library's own way of reading gives the same numbers, but for what rounding leaves open.
    rows = read_split(tmp_path / "run/dataset", "test")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "base", backend="pil")
    own = [Image.open(file).convert("RGB") for file in _files(rows.inputs, tmp_path)]
    ours = ImageReader(card.image.wire()).numbers(rows.inputs)
    theirs = processor(own, return_tensors="np")["pixel_values"]
    mean, deviation = (np.reshape(tinyvision.PROCESSOR[name], (3, 1, 1)) for name in ("image_mean", "image_std"))
    assert np.abs((ours / 255 - mean) / deviation - theirs).max() <= 1.01 / 255 / 0.2


def _files(inputs: list[bytes], folder: Path) -> list[Path]:
    found = []
    for number, data in enumerate(inputs):
        found.append(folder / f"{number}.png")
        found[-1].write_bytes(data)
    return found


def test_recorded_predictions_are_those_of_another_evaluation(shop: Any, images: Result, tmp_path: Path) -> None:
    result = trained(shop, work_of(images, "builtin:cnn", **QUICK), tmp_path / "run")
    assert result.artifact is not None and images.artifact is not None and result.training is not None
    work = {
        "stage": "evaluate",
        "model": {"uri": result.artifact.uri, "digest": result.artifact.digest},
        "dataset": {"uri": images.artifact.uri, "digest": images.artifact.digest},
        "threads": 1,
    }
    (tmp_path / "again").mkdir()
    again = evaluate.run(
        shop.job("compressionjobs", work), EvaluateWork.model_validate(work),
        Context(Reporter(None, None), tmp_path / "again", "attempt-1"),
    )  # fmt: skip
    assert again.training is not None
    before = result.training.evaluation.metrics
    assert {name: one.value for name, one in again.training.evaluation.metrics.items()} == pytest.approx(
        {name: one.value for name, one in before.items()}, abs=1e-6
    )


def test_every_field_of_the_recipe_reaches_the_training(shop: Any, images: Result, tmp_path: Path) -> None:
    recipe = {
        "epochs": 3,
        "batchSize": 8,
        "learningRate": 0.001,
        "scheduler": "cosine",
        "warmupRatio": 0.2,
        "weightDecay": 0.1,
        "labelSmoothing": 0.1,
        "classWeights": "balanced",
        "gradientAccumulationSteps": 2,
        "maxGradNorm": 0.5,
        "precision": "bf16",
        "seed": 3,
        "earlyStopping": {"metric": "accuracy", "patience": 1},
        "imageSize": 16,
        "augmentation": "shift-flip",
    }
    result = trained(shop, work_of(images, "builtin:cnn", **recipe), tmp_path / "run")
    card = manifest_of(result).model
    assert card is not None and card.image is not None and card.image.height == 16
    assert card.recipe["augmentation"] == "shift-flip" and card.recipe["epochs"] == 3


def test_a_stopped_training_goes_on_and_ends_where_it_would_have(shop: Any, images: Result, tmp_path: Path) -> None:
    recipe = QUICK | {"epochs": 3, "earlyStopping": {"patience": 5}}
    whole = trained(shop, work_of(images, "builtin:cnn", **recipe), tmp_path / "whole")
    stop = threading.Event()
    work = work_of(images, "builtin:cnn", {"everySteps": 3}, **recipe)
    told = TrainWork.model_validate(work)
    job = shop.job("trainingruns", work, token="stopped")
    (tmp_path / "first").mkdir()
    context = Context(_StopsAt(7, stop), tmp_path / "first", "first", stop=stop)
    with pytest.raises(Terminated):
        train.run(job, told, context)
    (tmp_path / "second").mkdir()
    heard = _StopsAt(10**9, threading.Event())
    again = train.run(job, told, Context(heard, tmp_path / "second", "second"))
    assert heard.resumed_at == 7
    graphs = [(tmp_path / name / "model/model.onnx").read_bytes() for name in ("whole", "second")]
    assert graphs[0] == graphs[1]
    assert whole.training is not None and again.training is not None
    assert whole.training.evaluation.metrics == again.training.evaluation.metrics


class _StopsAt(Reporter):
    """Asks for a stop at a step, as SIGTERM does."""

    def __init__(self, step: int, stop: threading.Event) -> None:
        super().__init__(None, None)
        self._at, self._stop = step, stop
        self.resumed_at: int | None = None

    def progress(self, *args: Any, **kwargs: Any) -> None:
        super().progress(*args, **kwargs)
        if kwargs.get("step") == self._at:
            self._stop.set()

    def resumed(self, step: int) -> None:
        super().resumed(step)
        self.resumed_at = step


def test_images_that_do_not_fit_into_memory_are_decoded_again(
    shop: Any, images: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(shop, work_of(images, "builtin:cnn", **QUICK), tmp_path / "held")
    monkeypatch.setattr("kaon_jobs.learn.images.pixels._MEMORY_SHARE", 0)
    trained(shop, work_of(images, "builtin:cnn", **QUICK), tmp_path / "again")
    graphs = [(tmp_path / name / "model/model.onnx").read_bytes() for name in ("held", "again")]
    assert graphs[0] == graphs[1]


def test_without_a_validation_split_and_with_one_row_too_many_for_its_batches(shop: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    made = run_dataset(shop, shapes(15), tmp_path / "data")
    assert made.dataset is not None and made.dataset.rows.train % 9 == 0
    result = trained(shop, work_of(made, "builtin:cnn", **QUICK | {"batchSize": 26}), tmp_path / "run")
    assert result.training is not None


@pytest.mark.parametrize("files", [{}, {f"bar/{red}.png": png("RGB", (300, 200), (red, 200, 9)) for red in range(12)}])
def test_images_of_all_kinds_are_read_as_one(shop: Any, tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "data").mkdir()
    odd = {"bar/turned.jpg": file_of(Image.effect_noise((40, 9), 50), "JPEG"), "box/dot.png": png("LA", (1, 1), (5, 9))}
    made = run_dataset(shop, {**shapes(20), **odd, **files}, tmp_path / "data")
    card = manifest_of(trained(shop, work_of(made, "builtin:cnn", **QUICK), tmp_path / "run")).model
    assert card is not None and card.image is not None
    assert (card.image.height, card.image.channels) == (12, 3 if files else 1)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_batch_of_one_image_is_refused(shop: Any, images: Result, tmp_path: Path) -> None:
    failure = refusal(shop, work_of(images, "builtin:cnn", batchSize=1), tmp_path / "run")
    assert failure.reason == "RecipeUnsupported" and "needs at least 2 of them" in failure.message


def test_another_image_size_than_positions_have_is_refused_before_training(
    shop: Any, images: Result, tmp_path: Path
) -> None:
    tinyvision.write_model(tmp_path / "base", "vit")
    failure = refusal(shop, work_of(images, f"file:///mnt{tmp_path}/base", imageSize=48), tmp_path / "run")
    assert failure.reason == "RecipeUnsupported" and "Leave recipe.imageSize out" in failure.message
    tinyvision.write_model(tmp_path / "conv", "resnet")
    result = trained(shop, work_of(images, f"file:///mnt{tmp_path}/conv", imageSize=48, epochs=1), tmp_path / "other")
    card = manifest_of(result).model
    assert card is not None and card.image is not None and (card.image.height, card.image.shortest) == (48, 54)


def test_a_folder_without_how_images_are_read_is_refused(shop: Any, images: Result, tmp_path: Path) -> None:
    tinyvision.write_model(tmp_path / "base", "resnet")
    (tmp_path / "base/preprocessor_config.json").unlink()
    failure = refusal(shop, work_of(images, f"file:///mnt{tmp_path}/base"), tmp_path / "run")
    assert failure.reason == "ModelUnreadable" and "holds no preprocessor_config.json" in failure.message


def test_weights_that_do_not_fit_are_refused(shop: Any, images: Result, tmp_path: Path) -> None:
    tinyvision.write_model(tmp_path / "base", "vit")
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    failure = refusal(shop, work_of(images, f"file:///mnt{tmp_path}/base"), tmp_path / "run")
    assert failure.reason == "ModelWeightsMismatch" and "weights of the encoder are missing" in failure.message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"do_resize": False}, "has do_resize false"),
        ({"resample": None}, "has no resample from 0 to 5"),
        ({"size": None}, "has no size with height and width"),
        ({"size": {"height": 0, "width": 4}}, "that is no number of pixels from 1 to 1,024"),
        ({"size": {"shortest_edge": 30}}, "takes no middle of a size"),
        ({"image_mean": [1, 2]}, "has no image_mean of 3 numbers"),
        ({"image_std": [0, 1, 1]}, "has an image_std that is not above 0"),
        ({"rescale_factor": "x"}, "has a rescale_factor that is no number above 0"),
        ({"do_flip_channel_order": True}, "which is not supported"),
        ({"size": {"shortest_edge": 30}, "crop_pct": 7}, "has a crop_pct that is no share from 0.1 to 1"),
    ],
)
def test_a_preprocessor_that_is_not_understood_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    content = {name: value for name, value in {**tinyvision.PROCESSOR, **changes}.items() if value is not None}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(StageFailure) as caught:
        read_processor(tmp_path, "s3://x", 3, None)
    assert caught.value.reason == "ModelUnreadable" and told in caught.value.message


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 28), (3, 64), (1, 128)])
def test_a_network_takes_images_of_every_size(name: str, channels: int, size: int) -> None:
    net = build(name, channels, 5, size)
    for side in {size, 9}:
        assert net(torch.zeros(2, channels, side, side))["logits"].shape == (2, 5)


def test_an_image_is_moved_by_the_draw_alone_and_mirrored_only_when_asked_to() -> None:
    pixels = np.arange(28 * 28, dtype=np.uint16).astype(np.uint8).reshape(1, 28, 28)
    seen = {moved(pixels, np.random.default_rng(seed), flip=False).tobytes() for seed in range(200)}
    assert len(seen) == 25 and pixels.tobytes() in seen
    shifted = moved(pixels, np.random.default_rng(5), flip=False)
    assert shifted.tolist() == moved(pixels, np.random.default_rng(5), flip=False).tolist()
    both = {moved(pixels, np.random.default_rng(seed), flip=True).tobytes() for seed in range(400)}
    assert len(both) == 50 and pixels[:, :, ::-1].tobytes() in both


def test_no_batch_has_one_row_alone_and_every_row_has_its_turn() -> None:
    order = Shuffled(33, 16, seed=1)
    assert len(order) == 32 and len(Shuffled(32, 16, 1)) == 32 and len(Shuffled(34, 16, 1)) == 34
    seen = set()
    for epoch in range(20):
        order.epoch = epoch
        rows = list(order)
        assert len(set(rows)) == 32
        seen |= set(rows)
    assert seen == set(range(33))


def test_the_size_is_the_middle_of_the_longer_sides_within_bounds() -> None:
    assert suited([png(size=(9, 30)), png(size=(20, 3)), png(size=(40, 40))]) == (1, 30)
    assert suited([png(size=(2, 2))]) == (1, 8) and suited([png("RGB", (900, 9), (1, 2, 3))]) == (3, 128)
    assert suited([png("1"), png("LA", colour=(1, 2)), png("I;16")])[0] == 1
    assert suited([png(), png("P")])[0] == 3


def test_rows_of_images_are_told_apart_by_their_pixels() -> None:
    from kaon_jobs.compress.trials.leak import leaked

    same = file_of(Image.new("L", (5, 5), 7), compress_level=0)
    test = Rows([png(size=(5, 5), colour=7)], np.zeros(1, np.int64), np.array([0]))
    other = Rows([png(size=(5, 5), colour=8), same], np.zeros(2, np.int64), np.array([5, 6]))
    assert leaked(test, {"train": other}) == {"train": [(0, 6)]}


def test_golden_images_are_small(shop: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    noise = np.random.default_rng(0)
    files = {
        f"{label}/{number}.png": file_of(Image.fromarray(noise.integers(0, 255, (90, 90, 3)).astype(np.uint8)))
        for label in CLASSES
        for number in range(12)
    }
    made = run_dataset(shop, files, tmp_path / "data")
    result = trained(shop, work_of(made, "builtin:cnn", **QUICK | {"imageSize": 24}), tmp_path / "run")
    card = manifest_of(result).model
    assert card is not None and len(card.golden) == 13
    assert max(len(base64.b64decode(one.image or "")) for one in card.golden) < 2500


def test_a_pod_trains_a_network_and_stops_when_it_is_told_to(
    shop: Any, images: Result, kaon_job: Callable[..., subprocess.Popen[str]]
) -> None:
    job = shop.job("trainingruns", work_of(images, "builtin:resnet18", epochs=200), token="pod")
    process = kaon_job(job)
    end = time.monotonic() + 120
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if "training" in line or time.monotonic() > end:
            break
    os.kill(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 143, "".join(lines) + rest
