"""A network before it learns: a builtin one, or a base model with a head of its own. Touches the base's folder."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from kaon.contract.budgets import Budgets
from kaon.contract.jobspec import TrainWork
from kaon.contract.manifest import ImageForm
from kaon_jobs.budget import MEMORY_FIELD
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.images.export import check_parity, export_images
from kaon_jobs.learn.images.nets import build
from kaon_jobs.learn.images.pixels import Images, Scale, suited
from kaon_jobs.predict.onnx_image import OnnxImageModel
from kaon_jobs.predict.onnx_model import MODEL_FILE, write_card
from kaon_jobs.pretrained.apart import Say, tried
from kaon_jobs.pretrained.base_model import IMAGES, check_size, load_config, load_model
from kaon_jobs.pretrained.folder import check_files
from kaon_jobs.pretrained.processor import Processor, read_processor
from kaon_jobs.pretrained.recipe_fields import check_fields
from kaon_jobs.pretrained.refusing import refusing
from kaon_jobs.runtime.image import ImageReader
from kaon_jobs.tasks.base import Lesson
from kaon_jobs.tasks.image_classification.card import card_of

REHEARSED = 4
"""Images that a base model is tried with before it is trained."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network, how it reads images, and the training images as it reads them."""

    model: torch.nn.Module
    form: ImageForm
    scale: Scale
    train: Images


def of_builtin(lesson: Lesson, name: str) -> Prepared:
    """A builtin network, for images like the training rows.

    Raises:
        StageFailure: RecipeUnsupported.
    """
    recipe, files = lesson.work.recipe, lesson.train.inputs
    if recipe.batch_size < 2 or len(files) < 2:
        raise StageFailure(
            "RecipeUnsupported",
            f"builtin:{name} learns from means over the images of a batch, and needs at least 2 of them: recipe."
            f"batchSize is {recipe.batch_size}, and there are {len(files):,} training rows. Raise recipe.batchSize, or "
            "add rows.",
        )
    channels, side = suited(files)
    side = recipe.image_size or side
    form = ImageForm(height=side, width=side, channels=channels, resample="bilinear")
    train = Images(lesson.train, ImageReader(form.wire()))
    set_seed(recipe.seed)
    return Prepared(build(name, channels, len(lesson.labels), side), form, train.scale(), train)


def of_base(lesson: Lesson, directory: Path) -> Prepared:
    """A base model of a store, held against its files, the recipe and some rows.

    Raises:
        StageFailure: what does not fit.
    """
    work, labels = lesson.work, lesson.labels
    uri, recipe = work.model.base, work.recipe
    check_files(directory, uri)
    _check_cost(directory, work, len(labels), lesson.context.budgets)
    config: Any = load_config(directory, uri, IMAGES)
    processor = read_processor(directory, uri, getattr(config, "num_channels", 3), recipe.image_size)
    set_seed(recipe.seed)
    model = load_model(directory, config, uri, labels, recipe.dropout, reads=IMAGES)
    check_fields(model, recipe)
    prepared = Prepared(
        model,
        processor.form,
        Scale(processor.mean, processor.deviation),
        Images(lesson.train, ImageReader(processor.form.wire())),
    )
    _rehearse(prepared, lesson, processor)
    return prepared


def _check_cost(directory: Path, work: TrainWork, labels: int, budgets: Budgets) -> None:
    """Refuses a configuration that takes more than its budget of time, or than the pod's memory, to be built."""
    uri = work.model.base

    def build_it(say: Say) -> None:
        say("config.json")
        config: Any = load_config(directory, uri, IMAGES)
        config.num_labels = labels
        check_size(config, directory, uri, IMAGES)

    stopped = tried(build_it, budgets.tokenizer_seconds)
    if stopped is not None:
        raise StageFailure(
            "ModelTooLarge" if "memory" in stopped.what else "ModelUnreadable",
            f"config.json at {uri} describes a model that takes {stopped.what} to be built without its weights. Upload "
            f"config.json and the weights of one and the same model, or raise {MEMORY_FIELD}.",
        )


def _rehearse(prepared: Prepared, lesson: Lesson, processor: Processor) -> None:
    """A step of the recipe and the export, before hours of training: what fails here would fail then."""
    uri, recipe, directory = lesson.work.model.base, lesson.work.recipe, lesson.context.workdir / "rehearsal"
    form, count = processor.form, min(REHEARSED, len(lesson.train))
    mean, deviation = prepared.scale.tensors()
    values = torch.stack([torch.from_numpy(prepared.train.pixels(row)) for row in range(count)])
    with torch.random.fork_rng():
        model: Any = copy.deepcopy(prepared.model)
        model.train()
        with refusing(partial(_not_trainable, uri, form, recipe.image_size)):
            if recipe.gradient_checkpointing:
                model.activation_checkpointing_enable()
            logits = model(pixel_values=(values.float() - mean) / deviation).logits
            if logits.shape != (count, len(lesson.labels)):
                raise ValueError(f"it answers {count} images with logits of shape {list(logits.shape)}")
            logits.float().sum().backward()
        model.zero_grad(set_to_none=True)
        if recipe.gradient_checkpointing:
            model.activation_checkpointing_disable()
        directory.mkdir(parents=True)
        try:
            write_card(directory, card_of(lesson.work, lesson.labels, form))
            with refusing(partial(_not_exportable, model, uri)):
                shape = (form.channels, form.height, form.width)
                export_images(model, prepared.scale, shape, directory / MODEL_FILE)
                exported = OnnxImageModel(directory, threads=1)
                check_parity(model, prepared.scale, exported, lesson.train.inputs[:count])
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _not_trainable(uri: str, form: ImageForm, asked: int | None, cause: str) -> StageFailure:
    if asked is not None:
        return StageFailure(
            "RecipeUnsupported",
            f"The model at {uri} cannot read images of {form.height} x {form.width} pixels, as recipe.imageSize asks: "
            f"{cause}. Leave recipe.imageSize out.",
        )
    return StageFailure(
        "ModelUnreadable",
        f"The model at {uri} cannot be trained on images of {form.height} x {form.width} pixels: {cause}. Check that "
        "config.json and preprocessor_config.json are those that the model was made with, or use another base model.",
    )


def _not_exportable(model: Any, uri: str, cause: str) -> StageFailure:
    return StageFailure(
        "ModelNotExportable",
        f"The model at {uri} ({model.config.model_type}) cannot be exported to ONNX: {cause}. It would fail after its "
        "training too; use another base model. docs/families.md lists families that work.",
    )
