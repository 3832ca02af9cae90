"""image-classification in pods: a network is trained from nothing or from a base model; its baseline is linear."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from kaon.api.evaluation import SimpleBaseline
from kaon.api.trainingrun import AUGMENTATION
from kaon.tasks.registry import TASKS
from kaon_jobs.data.splits import Rows
from kaon_jobs.learn.export import Parity
from kaon_jobs.learn.images.export import check_parity, export_images
from kaon_jobs.learn.images.pixels import Images, material
from kaon_jobs.learn.loop import Fitted, fit
from kaon_jobs.machine import cpu_limit
from kaon_jobs.predict.onnx_image import OnnxImageModel
from kaon_jobs.predict.onnx_model import MODEL_FILE, Example, OnnxModel, write_card
from kaon_jobs.runtime.image import ImageReader
from kaon_jobs.tasks.base import Learned, Lesson, Room
from kaon_jobs.tasks.image_classification.baseline import baseline
from kaon_jobs.tasks.image_classification.card import card_of
from kaon_jobs.tasks.image_classification.edges import edge_images
from kaon_jobs.tasks.image_classification.prepared import Prepared, of_base, of_builtin

log = logging.getLogger(__name__)


class ImageClassification(Room):
    """Files of images in, one of a fixed set of classes out."""

    def learn(self, lesson: Lesson, percents: tuple[int, int]) -> Learned:
        work, report, (first, last) = lesson.work, lesson.context.reporter, percents
        quiet: Any = transformers_logging
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
        torch.set_num_threads(cpu_limit())
        report.progress("decoding images", first)
        base = lesson.base
        prepared = of_builtin(lesson, str(work.model.builtin)) if base is None else of_base(lesson, base.directory)
        form, recipe, model = prepared.form, work.recipe, prepared.model
        augmentation = recipe.augmentation or AUGMENTATION
        log.info("images are read as %d x %d pixels of %d channels", form.height, form.width, form.channels)
        fitted = fit(
            model,
            material(
                prepared.train,
                lesson.train,
                Images(lesson.validation, ImageReader(form.wire())),
                prepared.scale,
                how=augmentation,
                batch_size=recipe.batch_size,
                seed=recipe.seed,
                classes=len(lesson.labels),
            ),
            *(recipe, work.checkpoint, lesson.store, lesson.address, lesson.context),
            percents=(first + 2, last - 1),
            stopping=TASKS[work.task].stopping,
        )
        report.progress("exporting", last)
        export_images(model, prepared.scale, (form.channels, form.height, form.width), lesson.out / MODEL_FILE)
        card = card_of(work, lesson.labels, form)
        write_card(lesson.out, card)
        exported = OnnxImageModel(lesson.out, lesson.threads)
        asked = [*edge_images(), *lesson.test.inputs, *lesson.train.inputs]
        parity = check_parity(model, prepared.scale, exported, asked)
        return Learned(card, _facts(fitted, parity, prepared, augmentation), fitted.log_history)

    def edges(self, model: OnnxModel, rows: Rows) -> Sequence[Example]:
        return edge_images()

    def baseline(self, lesson: Lesson) -> SimpleBaseline:
        return baseline(lesson.train, lesson.test, lesson.labels)


def _facts(fitted: Fitted, parity: Parity, prepared: Prepared, augmentation: str) -> list[tuple[str, Any]]:
    form = prepared.form
    colours = "grey" if form.channels == 1 else "in colour"
    return [
        ("an image is read as", f"{form.width} x {form.height} pixels, {colours}"),
        ("parameters", f"{sum(one.numel() for one in prepared.model.parameters()):,}"),
        ("augmentation", augmentation),
        ("steps", fitted.steps),
        ("best step", fitted.best_step if fitted.best_step is not None else "the last one"),
        ("resumed from step", fitted.resumed_from_step if fitted.resumed_from_step is not None else "not resumed"),
        (
            "parity of the exported model",
            f"{parity.rows} images, scores within {parity.max_logit_difference:.1e}, "
            f"{parity.label_agreement:.1%} of the labels agree",
        ),
    ]


ROOM = ImageClassification()
