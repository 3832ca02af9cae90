"""Export to ONNX and the proof that the exported model answers like the trained one.

One float32 file: input_ids and attention_mask (int64, dynamic batch and sequence) in, logits out. Eager attention and
the tracing exporter, because that is the graph whose attention onnxruntime's optimizer recognises and fuses (measured:
neither SDPA nor the dynamo exporter gives one), and that dynamic quantisation reads without shape inference of its own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kaon_jobs.errors import StageFailure
from kaon_jobs.predict.edges import edge_texts
from kaon_jobs.predict.onnx_text import TOKENIZER_FILE, OnnxTextModel

log = logging.getLogger(__name__)

OPSET = 17
PARITY_TEXTS = 128
PARITY_BATCH = 16
PARITY_TOLERANCE = 1e-3
"""Largest absolute difference of a logit that rounding explains."""


class _Logits(torch.nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported model is from the trained one."""

    rows: int
    max_logit_difference: float
    label_agreement: float


def export_onnx(model: PreTrainedModel, path: Path) -> None:
    """Writes the model as one ONNX file. Leaves it on the CPU, in evaluation mode, with eager attention."""
    on_cpu: Any = model
    on_cpu.to("cpu").float().eval()
    model.set_attn_implementation("eager")
    ids = torch.arange(2 * 8, dtype=torch.int64).reshape(2, 8) % model.config.vocab_size
    # A mask without padding would be traced as no mask at all: the model drops it when every token counts.
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    axes = {0: "batch", 1: "sequence"}
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns of its deprecation and of every Python branch on a shape; parity is checked on real texts.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            # In evaluation mode itself: the exporter puts back the mode it found, in every part.
            _Logits(model).eval(),
            (ids, mask),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
        )
    graph = onnx.load(path)
    # Shapes recorded of the traced example mislead quantisation.
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, max_sequence_length: int, directory: Path) -> None:
    """Writes the tokenizer's files; tokenizer.json alone knows where and on which side to cut and to pad."""
    tokenizer.save_pretrained(directory)
    # A copy: training goes on with the tokenizer as it is.
    backend: Any = tokenizer
    fast = Tokenizer.from_str(backend.backend_tokenizer.to_str())
    fast.enable_truncation(max_sequence_length, direction=tokenizer.truncation_side)
    fast.enable_padding(
        pad_id=tokenizer.pad_token_id,
        pad_token=str(tokenizer.pad_token),
        pad_type_id=tokenizer.pad_token_type_id,
        direction=tokenizer.padding_side,
    )
    fast.save(str(directory / TOKENIZER_FILE))


def check_parity(model: PreTrainedModel, exported: OnnxTextModel, texts: Sequence[str]) -> Parity:
    """Asks both models the same texts, in batches of different lengths; an empty one and one of full length too.

    Raises:
        StageFailure: ParityFailed, with both figures.
    """
    trained, served = answers_of_both(model, exported, [*texts[:PARITY_TEXTS], *edge_texts(exported.tokenizer, texts)])
    parity = Parity(
        rows=len(trained),
        max_logit_difference=float(np.abs(trained - served).max()),
        label_agreement=float((trained.argmax(axis=1) == served.argmax(axis=1)).mean()),
    )
    log.info("parity over %d texts: logits differ by at most %.2e", parity.rows, parity.max_logit_difference)
    if not parity.max_logit_difference <= PARITY_TOLERANCE or parity.label_agreement < 1.0:
        raise StageFailure(
            "ParityFailed",
            f"the exported model is not the trained one: over {parity.rows} texts logits differ by up to "
            f"{parity.max_logit_difference:.3g} (allowed {PARITY_TOLERANCE:g}) and {parity.label_agreement:.1%} of the "
            "labels agree. The base model's architecture does not export faithfully; use another one",
        )
    return parity


def answers_of_both(
    model: PreTrainedModel, exported: OnnxTextModel, texts: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [texts, classes] of the torch model and of its export, asked the same batches."""
    theirs, ours = [], []
    with torch.no_grad():
        for start in range(0, len(texts), PARITY_BATCH):
            inputs = exported.encode(texts[start : start + PARITY_BATCH])
            ours.append(exported.run(inputs))
            tensors: Any = {name: torch.from_numpy(value) for name, value in inputs.items()}
            theirs.append(model(**tensors).logits.float().numpy())
    return np.concatenate(theirs), np.concatenate(ours)
