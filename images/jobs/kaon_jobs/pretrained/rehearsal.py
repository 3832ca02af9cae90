"""Everything that happens to a base model after hours of training, done once before it, on a few texts: a step of the
recipe, the export, and the exported model's answers at every length.

What fails here would fail then. Leaves weights, random state and attention as they were. Touches a scratch directory.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kaon.api.trainingrun import Recipe
from kaon.contract.manifest import ModelCard
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.export import answers_of_both, export_onnx, write_tokenizer
from kaon_jobs.predict.edges import edge_texts, spread_texts
from kaon_jobs.predict.onnx_model import MODEL_FILE, write_card
from kaon_jobs.predict.onnx_text import OnnxTextModel
from kaon_jobs.pretrained.folder import WEIGHTS_FILE
from kaon_jobs.pretrained.recipe_fields import check_fields
from kaon_jobs.pretrained.refusing import refusing

log = logging.getLogger(__name__)

RELATIVE_TOLERANCE = 1e-3
"""Largest difference of a logit, as a share of how far the logits of different texts lie apart."""
ABSOLUTE_TOLERANCE = 2e-5
"""What rounding explains of a fresh head's logits, which lie close together."""
_TEXTS = 6
"""Real texts that are asked, beside those at the edges."""


def rehearse(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    recipe: Recipe,
    card: ModelCard,
    directory: Path,
    uri: str,
) -> None:
    """Trains a step, exports and compares, in a scratch directory that it removes.

    Raises:
        StageFailure: RecipeUnsupported, ModelUnreadable, ModelNotExportable or PaddingChangesAnswers.
    """
    check_fields(model, recipe)
    attention = model.config._attn_implementation
    with torch.random.fork_rng():
        _step(model, tokenizer, texts, recipe, uri)
        directory.mkdir(parents=True)
        try:
            write_tokenizer(tokenizer, recipe.max_sequence_length, directory)
            write_card(directory, card)
            with refusing(partial(_not_exportable, model, uri)):
                export_onnx(model, directory / MODEL_FILE)
                exported = OnnxTextModel(directory, threads=1)
            _compare(model, exported, texts, uri)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    model.set_attn_implementation(attention)
    model.train()


def _step(model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], recipe: Recipe, uri: str) -> None:
    """One pass forward and back over two texts, as the trainer makes it."""
    given = list(texts[:2])
    inputs = tokenizer(
        given,
        truncation=True,
        max_length=recipe.max_sequence_length,
        padding=True,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    model.train()
    try:
        with refusing(partial(_not_trainable, uri, recipe)):
            if recipe.gradient_checkpointing:
                model.activation_checkpointing_enable()
            logits = model(**inputs).logits
            if logits.shape != (len(given), model.config.num_labels):
                raise ValueError(f"it answers {len(given)} texts with logits of shape {list(logits.shape)}")
            logits.float().sum().backward()
    finally:
        model.zero_grad(set_to_none=True)
        if recipe.gradient_checkpointing:
            model.activation_checkpointing_disable()


def _not_trainable(uri: str, recipe: Recipe, cause: str) -> StageFailure:
    means = " with recipe.gradientCheckpointing" if recipe.gradient_checkpointing else ""
    return StageFailure(
        "ModelUnreadable",
        f"The model at {uri} cannot be trained{means}: {cause}. Check that config.json is the one that the model was "
        "made with, or use another base model.",
    )


def _compare(model: PreTrainedModel, exported: OnnxTextModel, texts: Sequence[str], uri: str) -> None:
    asked = [*texts[:_TEXTS], *spread_texts(exported.tokenizer, texts), *edge_texts(exported.tokenizer, texts)]
    with refusing(partial(_not_exportable, model, uri)):
        together, served = answers_of_both(model, exported, asked)
        pairs = [answers_of_both(model, exported, [text]) for text in asked]
    alone, served_alone = (np.concatenate(part) for part in zip(*pairs, strict=True))
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        raise StageFailure(
            "ModelUnreadable",
            f"The model at {uri} answers with numbers that are not finite. Upload {WEIGHTS_FILE} again, or use another "
            "base model.",
        )
    spread = float(np.ptp(alone, axis=0).max())
    allowed = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * spread
    if spread <= ABSOLUTE_TOLERANCE / 100:
        raise StageFailure(
            "ModelUnreadable",
            f"The model at {uri} gives the same answer to {len(asked)} different texts: its weights, or those parts "
            f"of them that read the text, are constant. Upload {WEIGHTS_FILE} again.",
        )
    padded = _distance(together, alone)
    if not padded <= allowed:
        raise StageFailure(
            "PaddingChangesAnswers",
            f"The model at {uri} answers a text otherwise when a longer one stands beside it (logits differ by "
            f"{padded:.2g}, {allowed:.2g} is allowed): padding on the {_side(exported)} changes its positions or its "
            "last token. Set padding_side to right in tokenizer_config.json, and pad_token_id in config.json to the "
            "tokenizer's.",
        )
    export = max(_distance(together, served), _distance(alone, served_alone))
    log.info("rehearsal: %d texts, the exported model's logits differ by at most %.2e", len(asked), export)
    if not export <= allowed:
        raise _not_exportable(
            model, uri, f"its exported form answers otherwise (logits differ by {export:.2g}, {allowed:.2g} is allowed)"
        )


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


def _side(exported: OnnxTextModel) -> str:
    return str((exported.tokenizer.padding or {}).get("direction", "right"))


def _not_exportable(model: PreTrainedModel, uri: str, cause: str) -> StageFailure:
    return StageFailure(
        "ModelNotExportable",
        f"The model at {uri} ({model.config.model_type}) cannot be exported to ONNX: {cause}. It would fail after its "
        "training too; use another base model. docs/families.md lists families that work.",
    )
