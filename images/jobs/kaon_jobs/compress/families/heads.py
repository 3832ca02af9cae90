"""Attention heads that pruning has emptied: left out of the exported graph, where shapes are free.

The trained form keeps them as zeros, because a config of transformers can name no other head size than width / heads.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from transformers import PreTrainedModel

from kaon_jobs.compress.families import anatomy, faithful, matrices
from kaon_jobs.errors import TechniqueFailed

log = logging.getLogger(__name__)

_PROBED_TOKENS = 16
_WHOLE_WIDTHS = ("all_head_size", "split_size", "embed_dim")
"""What modules call the width of all heads together, where they keep it."""


def without_empty_heads(model: PreTrainedModel) -> PreTrainedModel:
    """A model without its empty heads that answers the same; the model itself where there are none.

    All layers lose as many, for fusion wants the same number everywhere. What cannot be left out stays, as zeros.
    """
    try:
        layers = anatomy.layers(model)
    except TechniqueFailed:
        return model
    groups = anatomy.head_groups(model)
    empty = [[group for group in range(groups) if _is_empty(layer, group, groups)] for layer in layers]
    fewest = min(len(found) for found in empty)
    if fewest == 0 or fewest == groups:
        return model
    try:
        made = _shrunk(model, [found[:fewest] for found in empty])
        texts = faithful.probes(model, faithful.reads(model, _PROBED_TOKENS))
        if faithful.alike(faithful.answers(model, texts), faithful.answers(made, texts)):
            return made
    except (TechniqueFailed, RuntimeError, IndexError, ValueError) as error:
        log.info("empty heads stay in the graph: %s", error)
    return model


def _is_empty(layer: anatomy.Layer, group: int, groups: int) -> bool:
    return not matrices.input_weights(layer.mix)[anatomy.columns_of(layer, group, groups)].any()


def _shrunk(model: PreTrainedModel, empty: list[list[int]]) -> PreTrainedModel:
    rows = anatomy.rows_of_heads(model)
    groups, heads = anatomy.head_groups(model), int(model.config.num_attention_heads)
    made = copy.deepcopy(model)
    for layer, places, gone in zip(anatomy.layers(made), rows, empty, strict=True):
        stay = [group for group in range(groups) if group not in gone]
        width = matrices.inputs_of(layer.mix)
        for matrix, parts in zip(layer.projections, places, strict=True):
            matrices.keep_outputs(matrix, torch.cat([parts[group] for group in stay]).sort().values)
        matrices.keep_inputs(layer.mix, torch.cat([anatomy.columns_of(layer, group, groups) for group in stay]))
        numbers = {"heads": (heads, heads // groups * len(stay)), "groups": (groups, len(stay))}
        _renumber(layer.module, numbers, (width, matrices.inputs_of(layer.mix)))
        kept_heads = [group * (heads // groups) + one for group in stay for one in range(heads // groups)]
        _slice_what_comes_in(layer.module, heads, kept_heads)
    return made


def _renumber(module: torch.nn.Module, numbers: dict[str, tuple[int, int]], width: tuple[int, int]) -> None:
    """Puts the new numbers where modules keep the number of heads, or the width of them all."""
    for part in module.modules():
        for name, value in vars(part).items():
            if type(value) is not int:
                continue
            if name in _WHOLE_WIDTHS and value == width[0]:
                setattr(part, name, width[1])
            elif "head" in name and "size" not in name and "dim" not in name:
                old, new = numbers["groups" if "key_value" in name and "groups" not in name else "heads"]
                if value == old:
                    setattr(part, name, new)


def _slice_what_comes_in(module: torch.nn.Module, heads: int, kept: list[int]) -> None:
    """Of what a layer is given for each head ([rows, heads, tokens, tokens]: biases of position), leaves these."""
    chosen = torch.as_tensor(kept)

    def sliced(value: Any) -> Any:
        per_head = isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[1] == heads
        return value[:, chosen] if per_head else value

    module.register_forward_pre_hook(
        lambda _, given, named: (
            tuple(sliced(value) for value in given),
            {name: sliced(value) for name, value in named.items()},
        ),
        with_kwargs=True,
    )
