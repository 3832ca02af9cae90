"""The trained form of a text encoder beside its exported one: config.json, model.safetensors, tokenizer files.

What is specific to text encoders lies here: how one is loaded, saved and exported, how texts become batches, and where
in it layers, attention and feed-forward weights are. Everything that is written loads with from_pretrained again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from kaon_jobs.compress.encoder_shape import MIN_COUNTS, EncoderShape
from kaon_jobs.compress.forms import CONFIG_FILE, TOKENIZER_FILES, WEIGHTS_FILE, is_trained_form
from kaon_jobs.compress.techniques.pieces import kept_tokens, token_ids
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.onnx_model import MODEL_FILE
from kaon_jobs.onnx_text import TOKENIZER_FILE, OnnxTextClassifier, longest_of
from kaon_jobs.train.export import check_parity, export_onnx

log = logging.getLogger(__name__)

_WIDTHS = ("intermediate_size", "hidden_dim", "ffn_dim")
_LINEARS_OF_A_LAYER = 6

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrices of one encoder layer of BERT's shape."""

    module: torch.nn.Module
    query: torch.nn.Linear
    key: torch.nn.Linear
    value: torch.nn.Linear
    attended: torch.nn.Linear
    """What mixes the heads."""
    inner: torch.nn.Linear
    """Hidden to feed-forward width."""
    outer: torch.nn.Linear
    """And back."""


def load(directory: Path) -> PreTrainedModel:
    """The classifier of a directory, on the CPU, in evaluation mode.

    Raises:
        TechniqueFailed: there is no trained form, or it does not load.
    """
    if not is_trained_form(directory):
        raise TechniqueFailed(
            f"it needs the trained weights ({CONFIG_FILE} and {WEIGHTS_FILE}), and there is only the exported model; "
            "put it before optimize and quantize, and compress the artifact of a TrainingRun"
        )
    quiet: Any = transformers_logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        directory, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype="float32"
    )
    return model.eval()


def save(model: PreTrainedModel, source: Path, target: Path) -> None:
    """Writes the model with the tokenizer files of `source`; what is exported of another one is taken away."""
    model.save_pretrained(target)
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and source != target:
            shutil.copyfile(source / name, target / name)
    (target / MODEL_FILE).unlink(missing_ok=True)


def export(directory: Path, texts: Sequence[str]) -> None:
    """Writes model.onnx from the trained form, and proves on `texts` that both answer alike.

    Raises:
        StageFailure: ParityFailed.
    """
    # heads.py builds on this file.
    from kaon_jobs.compress.heads import without_empty_heads

    export_onnx(without_empty_heads(load(directory)), directory / MODEL_FILE)
    check_parity(load(directory), OnnxTextClassifier(directory, threads=1), texts)


class Pupil:
    """An encoder that learns (see techniques/teaching.py)."""

    brief = True

    def __init__(self, model: PreTrainedModel, outputs: dict[str, bool] | None = None) -> None:
        """`outputs`: what it shall answer besides its scores, in transformers' words."""
        self.module: torch.nn.Module = model
        self._call: Any = model
        self._outputs = outputs or {}
        self._pad_id = int(model.config.pad_token_id or 0)

    def lengths(self, view: Any) -> list[int]:
        """Tokens of each row."""
        return [len(row) for row in view.rows]

    def inputs(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Token ids and mask."""
        ids, mask = pad(rows, self._pad_id)
        return {"input_ids": ids, "attention_mask": mask}

    def answer(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The model's outputs."""
        found = self._call(**inputs, **self._outputs)
        found["logits"] = found["logits"].float()
        return found


def base_of(model: PreTrainedModel) -> torch.nn.Module:
    """The encoder below the head."""
    base: torch.nn.Module = model.base_model
    return base


def layer_list(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The encoder's layers.

    Raises:
        TechniqueFailed: it has none that are known.
    """
    depth = model.config.num_hidden_layers
    for module in base_of(model).modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise TechniqueFailed(f"the layers of a {model.config.model_type} are not known to this technique")


def layers(model: PreTrainedModel) -> list[Layer]:
    """The layers with their matrices.

    Raises:
        TechniqueFailed: they are not of BERT's shape (three projections, the mix, two of the feed-forward part).
    """
    found = []
    for module in layer_list(model):
        linears = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
        if len(linears) != _LINEARS_OF_A_LAYER or linears[4].out_features != linears[5].in_features:
            raise TechniqueFailed(f"a layer of a {model.config.model_type} is not of BERT's shape")
        found.append(Layer(module, *linears))
    return found


def width_field(model: PreTrainedModel) -> str:
    """The config's field that holds the feed-forward width."""
    for name in _WIDTHS:
        if getattr(model.config, name, None) is not None:
            return name
    raise TechniqueFailed(f"the config of a {model.config.model_type} names no feed-forward width")


def shape_of(directory: Path, rows: Sequence[Sequence[int]]) -> EncoderShape | None:
    """What there is to take away; None when the architecture is not known.

    Args:
        rows: the training texts' token ids.
    """
    model = load(directory)
    try:
        layers(model)
        width = getattr(model.config, width_field(model))
        described = json.loads((directory / TOKENIZER_FILE).read_text(encoding="utf-8"))
        ids = token_ids(described)
    except TechniqueFailed as failure:
        log.info("structures are not searched: %s", failure)
        return None
    counts = Counter(token for row in rows for token in row)
    tokens = tuple(
        (least, len(kept_tokens(described, {token for token, number in ids.items() if counts[number] >= least})))
        for least in MIN_COUNTS
    )
    return EncoderShape(
        depth=model.config.num_hidden_layers,
        hidden=model.config.hidden_size,
        width=width,
        heads=int(model.config.num_attention_heads),
        vocabulary=len(ids),
        sequence=longest_of(directory),
        tokens=tokens,
        rows=len(rows),
    )


@contextmanager
def last_layer_for_first_token(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Inside, the last layer's feed-forward part sees the first token alone, where that is all the head reads.

    The logits are the same, which is tried before; for a shallow student it is a third of the training's work.
    """
    mixed = getattr(getattr(layer_list(model)[-1], "attention", None), "output", None)
    if not wanted or not isinstance(mixed, torch.nn.Module):
        yield
        return
    ids = torch.arange(2 * 6).reshape(2, 6) % model.config.vocab_size
    callable_model: Any = model
    with torch.no_grad():
        before = callable_model(input_ids=ids).logits
        # BERT's and RoBERTa's: (what attention gave, what it was given), both [rows, tokens, width].
        handle = mixed.register_forward_pre_hook(lambda module, given: tuple(part[:, :1] for part in given))
        try:
            same = torch.allclose(callable_model(input_ids=ids).logits, before, atol=1e-4)
        except (RuntimeError, IndexError):
            same = False
    if not same:
        handle.remove()
    try:
        yield
    finally:
        handle.remove()


def keep_rows(linear: torch.nn.Linear, chosen: torch.Tensor) -> None:
    """Leaves only these outputs of a matrix."""
    linear.weight = torch.nn.Parameter(linear.weight.data[chosen].clone())
    if linear.bias is not None:
        linear.bias = torch.nn.Parameter(linear.bias.data[chosen].clone())
    linear.out_features = len(chosen)


def keep_columns(linear: torch.nn.Linear, chosen: torch.Tensor) -> None:
    """Leaves only these inputs of a matrix."""
    linear.weight = torch.nn.Parameter(linear.weight.data[:, chosen].clone())
    linear.in_features = len(chosen)


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask [rows, longest]."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(row)
        mask[index, : len(row)] = 1
    return ids, mask


def brief_answers(directory: Path, rows: Sequence[Sequence[int]], threads: int) -> NDArray[np.float32]:
    """The classifier's logits [rows, classes] for token ids, computed in BF16: good to about 0.02, and sooner there."""
    model = load(directory)
    torch.set_num_threads(threads)
    found = np.empty((len(rows), int(model.config.num_labels or 0)), dtype=np.float32)
    numbers = np.arange(len(rows))  # in place of labels: which rows a batch holds
    callable_model: Any = model
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for ids, mask, part in batches(rows, numbers, int(model.config.pad_token_id or 0)):
            found[part.numpy()] = callable_model(input_ids=ids, attention_mask=mask).logits.float().numpy()
    return found


def batches(
    rows: Sequence[Sequence[int]], labels: Ids, pad_id: int, size: int = 32
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Ids, mask and labels of all rows, those of similar length together."""
    order = sorted(range(len(rows)), key=lambda row: (len(rows[row]), row))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        ids, mask = pad([rows[row] for row in part], pad_id)
        yield ids, mask, torch.as_tensor(labels[part])
