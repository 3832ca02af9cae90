"""The trained form of a text encoder beside its exported one: config.json, model.safetensors, tokenizer files.

How one is loaded, saved and exported, and how texts become batches; where its parts are, anatomy.py knows. Everything
that is written loads with from_pretrained again and answers as before, which is tried each time.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from kaon_jobs.compress.families import anatomy, faithful, matrices
from kaon_jobs.compress.families.encoder_shape import MIN_COUNTS, EncoderShape
from kaon_jobs.compress.families.forms import CONFIG_FILE, TOKENIZER_FILES, WEIGHTS_FILE, is_trained_form
from kaon_jobs.compress.families.heads import without_empty_heads
from kaon_jobs.compress.families.pieces import kept_tokens, token_ids
from kaon_jobs.compress.families.soundness import check_edges
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.learn.export import PARITY_TOLERANCE, answers_of_both, export_onnx
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_model import MODEL_FILE
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, OnnxTextModel, longest_of

log = logging.getLogger(__name__)

Ids = NDArray[np.int64]


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
    model, told = AutoModelForSequenceClassification.from_pretrained(
        directory,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        dtype="float32",
        output_loading_info=True,
    )
    mismatched = [*told["missing_keys"], *told["unexpected_keys"]]
    if mismatched:
        some = ", ".join(sorted(mismatched)[:5])
        raise TechniqueFailed(f"{CONFIG_FILE} and {WEIGHTS_FILE} do not belong together: they differ in {some}")
    classifier: PreTrainedModel = model.eval()
    return classifier


def save(model: PreTrainedModel, source: Path, target: Path) -> None:
    """Writes the model with the tokenizer files of `source`; what is exported of another one is taken away.

    Raises:
        TechniqueFailed: what was written does not load, or answers otherwise.
    """
    # Asked before it is written: a tokenizer of its own may have come with it.
    model.eval()
    texts = faithful.probes(model, longest_of(source))
    expected = faithful.answers(model, texts)
    if not all(bool(answer.isfinite().all()) for answer in expected):
        raise TechniqueFailed("the model that it made answers with what is no number")
    model.save_pretrained(target)
    for name in TOKENIZER_FILES:
        if (source / name).is_file() and source != target:
            shutil.copyfile(source / name, target / name)
    (target / MODEL_FILE).unlink(missing_ok=True)
    kind = model.config.model_type
    try:
        apart = faithful.difference(faithful.answers(load(target), texts), expected)
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        first = str(error).strip().split("\n", 1)[0][:300]
        raise TechniqueFailed(f"a {kind} model that was cut like this does not load again: {first}") from error
    if apart > faithful.TOLERANCE:
        raise TechniqueFailed(
            f"a {kind} model that was cut like this answers otherwise when it is loaded again: the config of this "
            f"architecture cannot describe it (logits differ by {apart:.3g}, allowed is {faithful.TOLERANCE:g})"
        )


def export(directory: Path, texts: Sequence[str]) -> None:
    """Writes model.onnx from the trained form, and proves on `texts` that both answer alike; on a text of full length
    and an empty one too.

    Raises:
        TechniqueFailed: they do not, or the exported one does not answer.
    """
    export_onnx(without_empty_heads(load(directory)), directory / MODEL_FILE)
    check_edges(directory, texts)
    exported = OnnxTextModel(directory, threads=1)
    asked = [*texts, *edge_texts(exported.tokenizer, texts)]
    trained, served = answers_of_both(load(directory), exported, asked)
    apart = float(np.abs(trained - served).max())
    if not apart <= PARITY_TOLERANCE:
        raise TechniqueFailed(
            f"the exported model of this structure does not answer like the trained one: over {len(asked)} texts "
            f"logits differ by up to {apart:.3g} (allowed is {PARITY_TOLERANCE:g})"
        )


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


def shape_of(directory: Path, rows: Sequence[Sequence[int]]) -> EncoderShape | None:
    """What there is to take away; None when the architecture is not known.

    Args:
        rows: the training texts' token ids.
    """
    model = load(directory)
    try:
        layers = anatomy.layers(model)
        width = matrices.inputs_of(layers[0].narrow)
        described = json.loads((directory / TOKENIZER_FILE).read_text(encoding="utf-8"))
        ids = token_ids(described)
    except TechniqueFailed as failure:
        log.info("structures are not searched: %s", failure)
        return None
    embeddings: Any = model.get_input_embeddings()
    counts = Counter(token for row in rows for token in row)
    tokens = tuple(
        (least, len(kept_tokens(described, {token for token, number in ids.items() if counts[number] >= least})))
        for least in MIN_COUNTS
    )
    return EncoderShape(
        depth=anatomy.depth_of(model),
        hidden=model.config.hidden_size,
        width=width,
        heads=anatomy.head_groups(model),
        vocabulary=len(ids),
        sequence=longest_of(directory),
        tokens=tokens,
        rows=len(rows),
        embedding=int(embeddings.embedding_dim),
        weight_sets=len(layers),
    )


@contextmanager
def last_layer_for_first_token(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Inside, the last layer's feed-forward part sees the first token alone, where that is all the head reads.

    The logits are the same, which is tried before; for a shallow student it is a third of the training's work.
    """
    mixed = getattr(getattr(anatomy.layer_list(model)[-1], "attention", None), "output", None)
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


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask [rows, longest]."""
    # A text without tokens is read as one padding token, as it is when it is served.
    rows = [row or [pad_id] for row in rows]
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
