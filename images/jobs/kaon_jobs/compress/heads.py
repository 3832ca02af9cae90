"""Attention heads that pruning has emptied: left out of the exported graph, where shapes are free.

The trained form keeps them as zeros, because a config of transformers can name no other head size than width / heads.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from kaon_jobs.compress import encoder
from kaon_jobs.errors import TechniqueFailed


def without_empty_heads(model: PreTrainedModel) -> PreTrainedModel:
    """Takes empty heads out of every layer, in place, if all layers have as many. The answers stay the same."""
    count = int(model.config.num_attention_heads)
    try:
        layers = encoder.layers(model)
    except TechniqueFailed:
        return model
    alive = [_alive(layer, count) for layer in layers]
    fewest = max(int(heads.sum()) for heads in alive)
    if fewest == count or fewest == 0:
        return model
    for layer, heads in zip(layers, alive, strict=True):
        size = layer.query.out_features // count
        # A layer that has lost more keeps some of its empty heads: fusion wants the same number everywhere.
        order = torch.argsort(heads.int(), descending=True, stable=True)[:fewest].sort().values
        rows = (order[:, None] * size + torch.arange(size)).ravel()
        for linear in (layer.query, layer.key, layer.value):
            encoder.keep_rows(linear, rows)
        encoder.keep_columns(layer.attended, rows)
    return model


def _alive(layer: encoder.Layer, count: int) -> torch.Tensor:
    """Which heads say anything: their values are not all zero, or somebody reads them."""
    values = layer.value.weight.detach().reshape(count, -1).abs().sum(dim=1)
    if layer.value.bias is not None:
        values = values + layer.value.bias.detach().reshape(count, -1).abs().sum(dim=1)
    size = layer.attended.in_features // count
    read = layer.attended.weight.detach().reshape(-1, count, size).abs().sum(dim=(0, 2))
    return (values > 0) & (read > 0)
