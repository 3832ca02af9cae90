"""Models of images, trained by their own stages: what techniques do to them, and the compress stage over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tinyvision
from pictures import shapes, write_zip

from kaon.api.compressionjob import Step
from kaon.api.report import Result
from kaon.contract.jobspec import DatasetWork, InputArtifact, TrainWork
from kaon_jobs.compress.families.kinds import kind_of
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.compress.techniques.registry import technique_of
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows, read_split
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.measure.predictions import read_answers
from kaon_jobs.predict.onnx_model import CARD_FILE, MODEL_FILE
from kaon_jobs.predict.opening import open_model
from kaon_jobs.programs import compress as stage
from kaon_jobs.programs import dataset as dataset_stage
from kaon_jobs.programs import train
from kaon_jobs.report.reporter import Reporter
from kaon_jobs.store.artifact import fetch

TASK = "image-classification"
EPOCHS = {"builtin:cnn": 12, "builtin:mobilenet": 1, "builtin:resnet18": 1}


@pytest.fixture(scope="module")
def images(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A Dataset of 240 grey shapes of 12 x 12 pixels."""
    folder = tmp_path_factory.mktemp("images")
    archive = write_zip(folder / "images.zip", shapes(80))
    work = {
        "stage": "dataset",
        "task": TASK,
        "sources": [{"uri": f"file:///mnt{archive}"}],
        "format": "auto",
        "schema": {"features": [{"name": "image", "type": "image"}], "label": {"name": "kind"}},
        "clean": {},
        "split": {"validation": 0.2, "test": 0.3},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kaon_jobs.store.options._identity", {})
        job = shop.job("datasets", work, token=str(folder))
        return dataset_stage.run(job, DatasetWork.model_validate(work), Context(Reporter(None, None), folder, "1"))


@pytest.fixture(scope="module")
def models(shop: Any, images: Result, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of a training and its folder, by the base model; trained when it is first asked for."""
    made: dict[str, tuple[Result, Path]] = {}

    def model(base: str) -> tuple[Result, Path]:
        if base not in made:
            folder = tmp_path_factory.mktemp("model")
            uri = base
            if not base.startswith("builtin:"):
                tinyvision.write_model(folder / "base", base)
                uri = f"file:///mnt{folder}/base"
            assert images.artifact is not None
            work = {
                "stage": "train",
                "task": TASK,
                "dataset": {"uri": images.artifact.uri, "digest": images.artifact.digest},
                "model": {"base": uri},
                "recipe": {"epochs": EPOCHS.get(base, 1), "learningRate": 0.002, "batchSize": 16},
                "checkpoint": {},
            }
            job = shop.job("trainingruns", work, token=str(folder))
            context = Context(Reporter(None, None), folder / "run", "1")
            context.workdir.mkdir()
            made[base] = train.run(job, TrainWork.model_validate(work), context), folder / "run"
        return made[base]

    return model


def rows_of(folder: Path, split: Any = "train") -> Rows:
    return read_split(folder / "dataset", split)


def apply(step: dict[str, Any], folder: Path, target: Path) -> Path:
    """What a step makes of the model of a run, checked at its ends."""
    source = folder / "model"
    target.mkdir()
    (target / CARD_FILE).write_bytes((source / CARD_FILE).read_bytes())
    lessons = Lessons(rows_of(folder), 0, source, threads=2)
    technique_of(Step.model_validate(step), kind_of(source)).apply(source, target, lessons)
    check_edges(target, lessons.rows.inputs)
    return target


def accuracy(model: Path, folder: Path) -> float:
    test = rows_of(folder, "test")
    return float(np.mean(open_model(model, 1).answers(test.inputs).argmax(axis=1) == test.targets))


STEPS = {
    "int8-static": {"quantize": {"scheme": "int8-static", "calibrationSamples": 64}},
    "int8-dynamic": {"quantize": {"scheme": "int8-dynamic"}},
    "fp16": {"quantize": {"scheme": "fp16"}},
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("base", ["builtin:cnn", "builtin:mobilenet", "builtin:resnet18", *tinyvision.FAMILIES])
def test_a_model_of_images_is_stored_in_less_and_answers_alike(
    models: Any, tmp_path: Path, base: str, step: str
) -> None:
    _, folder = models(base)
    made = apply(STEPS[step], folder, tmp_path / "made")
    if base.startswith("builtin:"):
        assert (made / MODEL_FILE).stat().st_size < 0.75 * (folder / "model" / MODEL_FILE).stat().st_size
    test = rows_of(folder, "test").inputs
    before, after = (open_model(one, 1).answers(test) for one in (folder / "model", made))
    # Depthwise convolutions of a net that has learnt next to nothing lose more by INT8. The judge looks at each model.
    most = 0.15 if base == "mobilenet_v2" and step != "fp16" else 0.05
    assert np.abs(before - after).mean() < most


@pytest.mark.parametrize("base", ["builtin:cnn", "builtin:mobilenet", "builtin:resnet18"])
def test_channels_go_and_what_is_left_learns_from_the_original(models: Any, tmp_path: Path, base: str) -> None:
    _, folder = models(base)
    pruned = apply({"prune": {"method": "channels", "ratio": 0.5}}, folder, tmp_path / "pruned")
    assert (pruned / MODEL_FILE).stat().st_size < 0.4 * (folder / "model" / MODEL_FILE).stat().st_size
    if base != "builtin:cnn":
        return
    taught = tmp_path / "taught"
    taught.mkdir()
    (taught / CARD_FILE).write_bytes((pruned / CARD_FILE).read_bytes())
    lessons = Lessons(rows_of(folder), 0, folder / "model", threads=2)
    technique_of(Step.model_validate({"distill": {"epochs": 10}}), kind_of(pruned)).apply(pruned, taught, lessons)
    assert accuracy(taught, folder) >= accuracy(folder / "model", folder) - 0.1


def test_as_many_images_are_learnt_from_as_memory_has_room_for(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = models("builtin:cnn")
    rows, teacher = rows_of(folder), folder / "model"
    whole = Lessons(rows, 0, teacher, threads=1)
    assert len(whole.rows) == len(rows) and np.stack(whole.view(1)).shape == (len(rows), 1, 12, 12)
    monkeypatch.setattr("kaon_jobs.compress.training.lessons._MEMORY_SHARE", 0)
    few = Lessons(rows, 0, teacher, threads=1)
    assert len(few.rows) == 64 and set(few.rows.row_ids) < set(rows.row_ids)
    assert few.answers(1).shape == (64, 3) and few.draw(100) == [*map(few.rows.inputs.__getitem__, _order(few))]


def _order(lessons: Lessons) -> list[int]:
    return np.random.default_rng(lessons.seed).permutation(len(lessons.rows)).tolist()  # type: ignore[no-any-return]


def test_what_a_transformer_of_images_cannot_have_is_refused_by_name(models: Any, tmp_path: Path) -> None:
    _, folder = models("vit")
    for step, told in (
        ({"prune": {"method": "channels", "ratio": 0.5}}, "cannot be trained further|no channels"),
        ({"distill": {}}, "cannot be trained further: it has the operators"),
        ({"optimize": "transformer-fusion"}, "is for text encoders"),
        ({"linear": {}}, "linear is for text encoders"),
    ):
        with pytest.raises(TechniqueFailed, match=told):
            apply(step, folder, tmp_path / f"refused{len(list(tmp_path.iterdir()))}")


def compress(
    shop: Any, images: Result, model: Result, tmp_path: Path, context: Context, **changes: Any
) -> tuple[Result, Path]:
    assert model.artifact is not None and images.artifact is not None
    work = {
        "stage": "compress",
        "task": TASK,
        "model": {"uri": model.artifact.uri, "digest": model.artifact.digest},
        "dataset": {"uri": images.artifact.uri, "digest": images.artifact.digest},
        "budget": {"maxDrop": {"accuracy": 0.2}},
        "objective": "size",
        "strategy": "auto",
        "steps": None,
        "search": {"maxTrials": 3},
        "target": {"threads": 1},
        **changes,
    }
    job = shop.job("compressionjobs", work, str(tmp_path))
    return stage.run(job, job.work, context), Path(job.artifact.uri.removeprefix("file:///mnt")) / "1"


def test_steps_are_judged_and_the_files_alone_answer_as_they_were_judged(
    shop: Any, images: Result, models: Any, tmp_path: Path, context: Context
) -> None:
    model, folder = models("builtin:cnn")
    steps = [{"prune": {"method": "channels", "ratio": 0.5}}, {"distill": {"epochs": 12}}, STEPS["int8-static"]]
    result, _ = compress(shop, images, model, tmp_path, context, strategy="steps", steps=steps)
    found = result.compression
    assert found is not None and found.verdict == "Accepted" and (found.size_ratio or 0) > 6, found
    assert result.artifact is not None and result.signature is not None
    files = tmp_path / "fetched"
    fetch(InputArtifact(uri=result.artifact.uri, digest=result.artifact.digest), files, kinds={"compressed-model"})
    served = open_model(files, 1)
    again = served.answers(rows_of(folder, "test").inputs, batch_size=1)
    assert np.abs(again - read_answers(files / "predictions-test.parquet")).max() < 1e-4
    assert all(example.image for example in served.card.golden) and served.card.reads == "image"


@pytest.mark.parametrize("base", ["builtin:cnn", "vit"])
def test_auto_ends_in_a_verdict_with_evidence(
    shop: Any, images: Result, models: Any, tmp_path: Path, context: Context, base: str
) -> None:
    model, _ = models(base)
    result, _ = compress(shop, images, model, tmp_path, context)
    found = result.compression
    assert found is not None and found.message
    folder = context.workdir / ("compressed" if result.signature is not None else "verdict")
    document = json.loads((folder / "report.json").read_text())
    assert document["predicts"] == "class" and document["trials"]
    if base == "builtin:cnn":
        assert found.verdict == "Accepted" and (found.size_ratio or 0) > 2, found.message
