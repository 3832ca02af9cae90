"""Structured pruning: whole layers, feed-forward neurons and attention heads go, and the config follows.

Which ones: those whose removal changes the loss least, by its first-order estimate |activation x gradient| over
training rows (Molchanov et al. 2017; for heads Michel et al. 2019). Every layer keeps as many, so that the result
loads with from_pretrained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from kaon.api.compressionjob import Prune
from kaon_jobs.compress import encoder
from kaon_jobs.compress.encoder_shape import spread
from kaon_jobs.compress.lessons import Lessons
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.onnx_text import token_rows

SCORED_ROWS = 256
MULTIPLE = 16
"""Widths stay a multiple of this: what vector instructions take at once."""


class StructuredPruning:
    """Fewer layers, narrower feed-forward parts or fewer heads."""

    def __init__(self, parameters: Prune) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        model = encoder.load(source)
        match self._parameters.method:
            case "layers":
                depth = model.config.num_hidden_layers
                left = max(1, round(depth * (1 - (self._parameters.ratio or 0.0))))
                keep_layers(model, self._parameters.keep_layers or spread(depth, left))
            case "ffn":
                prune_ffn(model, self._parameters.ratio or 0.0, _scores(model, source, data, "outer"))
            case "channels":
                raise TechniqueFailed("method: channels is for networks; of a text encoder, prune ffn, heads or layers")
            case "heads":
                prune_heads(model, self._parameters.ratio or 0.0, _scores(model, source, data, "attended"))
        encoder.save(model, source, target)


def keep_layers(model: PreTrainedModel, keep: Sequence[int]) -> None:
    """Leaves only these layers, in their order.

    Raises:
        TechniqueFailed: there are no such layers.
    """
    there: Any = encoder.layer_list(model)
    wanted = sorted(set(keep))
    if wanted[-1] >= len(there):
        raise TechniqueFailed(f"keepLayers: {wanted[-1]} is not there; the model has the layers 0 to {len(there) - 1}")
    chosen = [there[index] for index in wanted]
    del there[:]
    there.extend(chosen)
    model.config.num_hidden_layers = len(chosen)
    for index, layer in enumerate(chosen):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index


def prune_ffn(model: PreTrainedModel, ratio: float, scores: Sequence[torch.Tensor]) -> None:
    """Narrows every feed-forward part to the same width, its best neurons."""
    field = encoder.width_field(model)
    width = getattr(model.config, field)
    smaller = max(MULTIPLE, round(width * (1 - ratio) / MULTIPLE) * MULTIPLE)
    if smaller >= width:
        raise TechniqueFailed(f"a ratio of {ratio:g} leaves the feed-forward width at {width}")
    for layer, score in zip(encoder.layers(model), scores, strict=True):
        chosen = torch.topk(score, smaller).indices.sort().values
        encoder.keep_rows(layer.inner, chosen)
        encoder.keep_columns(layer.outer, chosen)
    setattr(model.config, field, smaller)


def prune_heads(model: PreTrainedModel, ratio: float, scores: Sequence[torch.Tensor]) -> None:
    """Empties the heads that matter least, as many in each layer.

    The shapes stay, so that from_pretrained loads them; an empty head stays empty in training, since its gradient is
    zero, and is left out at export (heads.py).
    """
    heads = int(model.config.num_attention_heads)
    size = encoder.layers(model)[0].query.out_features // heads
    gone = min(heads - 1, round(heads * ratio))
    if gone == 0:
        raise TechniqueFailed(f"a ratio of {ratio:g} leaves all {heads} heads")
    for layer, score in zip(encoder.layers(model), scores, strict=True):
        by_head = score.reshape(heads, size).sum(dim=1)
        for head in torch.topk(by_head, gone, largest=False).indices.tolist():
            part = slice(head * size, (head + 1) * size)
            for linear in (layer.query, layer.key, layer.value):
                linear.weight.data[part] = 0
                if linear.bias is not None:
                    linear.bias.data[part] = 0
            layer.attended.weight.data[:, part] = 0


def _scores(model: PreTrainedModel, source: Path, data: Lessons, name: str) -> list[torch.Tensor]:
    """For each layer and each input of its matrix `name`: the sum over training rows of |activation x gradient|."""
    inputs: dict[int, torch.Tensor] = {}
    found: list[torch.Tensor] = []
    handles = []
    for index, layer in enumerate(encoder.layers(model)):
        linear: torch.nn.Linear = getattr(layer, name)
        found.append(torch.zeros(linear.in_features))

        def keep(module: Any, given: tuple[torch.Tensor, ...], index: int = index) -> None:
            given[0].retain_grad()
            inputs[index] = given[0]

        handles.append(linear.register_forward_pre_hook(keep))
    chosen = data.drawn_rows(SCORED_ROWS)
    rows = list(token_rows(source, chosen.inputs))
    callable_model: Any = model
    for ids, mask, labels in encoder.batches(rows, chosen.label_ids, int(model.config.pad_token_id or 0)):
        callable_model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        for index, given in inputs.items():
            assert given.grad is not None
            found[index] += (given * given.grad).abs().sum(dim=(0, 1)).detach()
        model.zero_grad()
    for handle in handles:
        handle.remove()
    return found
