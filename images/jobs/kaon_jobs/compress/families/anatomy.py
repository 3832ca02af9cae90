"""Where the parts of a text model are: its layers, and the matrices of each, found by what the modules do in a forward
pass and not by their names. Touches nothing but the model.

A layer of every known family calls its matrices in one order: projections for attention, the matrix that mixes the
heads, one or two that widen, one that narrows. Matrices that widen together are given the same input. So the calls of a
layer, those with the same input taken together, end with (mix), (widen), (narrow).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kaon_jobs.compress.families import matrices
from kaon_jobs.compress.families.matrices import Matrix
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.positions import ordinary_token

_TOKENS = 12
_WIDTHS = ("intermediate_size", "hidden_dim", "ffn_dim", "n_inner")


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrices of one layer."""

    module: torch.nn.Module
    projections: tuple[Matrix, ...]
    """What goes into attention: queries, keys and values, in matrices of their own or in one; of positions too."""
    mix: Matrix
    """What mixes the heads."""
    widen: tuple[Matrix, ...]
    """Hidden to feed-forward width; with a gate twice, in one matrix or two."""
    narrow: Matrix
    """And back."""


def base_of(model: PreTrainedModel) -> torch.nn.Module:
    """The encoder or decoder below the head."""
    base: torch.nn.Module = model.base_model
    return base


def depth_of(model: PreTrainedModel) -> int:
    """Layers that a text passes."""
    return int(model.config.num_hidden_layers)


def layer_list(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The layers that a text passes; fewer than the config's number where layers share their weights.

    Raises:
        TechniqueFailed: it has none that are known.
    """
    lists = [module for module in base_of(model).modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    calls: dict[int, int] = {}

    def count(module: torch.nn.Module, *_: Any) -> None:
        calls[id(module)] = calls.get(id(module), 0) + 1

    with _hooks([(module, count) for one in lists for module in one]):
        _ask(model, _ids(model))
    passed = [one for one in lists if sum(calls.get(id(module), 0) for module in one) == depth_of(model)]
    if not passed:
        raise TechniqueFailed(f"the layers of a {model.config.model_type} model cannot be told apart")
    # Of lists that are passed as often, the layers are the one that holds the others.
    return max(passed, key=lambda one: sum(weight.numel() for weight in one.parameters()))


def layers(model: PreTrainedModel) -> list[Layer]:
    """The layers with their matrices.

    Raises:
        TechniqueFailed: their matrices are not called in the order that is known.
    """
    modules = list(layer_list(model))
    calls: dict[int, list[tuple[Matrix, int]]] = {id(module): [] for module in modules}
    owner = {id(matrix): id(module) for module in modules for matrix in module.modules() if isinstance(matrix, Matrix)}
    # Held, so that no two inputs have one address.
    given: list[torch.Tensor] = []

    def note(matrix: Any, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        given.append(inputs[0])
        calls[owner[id(matrix)]].append((matrix, inputs[0].data_ptr()))

    watched = [matrix for module in modules for matrix in module.modules() if isinstance(matrix, Matrix)]
    with _hooks([(matrix, note) for matrix in watched]):
        _ask(model, _ids(model))
    return [_layer(module, calls[id(module)], model) for module in modules]


def _layer(module: torch.nn.Module, calls: Sequence[tuple[Matrix, int]], model: PreTrainedModel) -> Layer:
    grouped: list[tuple[int, list[Matrix]]] = []
    seen: set[int] = set()
    for matrix, address in calls:
        if id(matrix) in seen:
            # A layer that is passed again, or a projection that positions pass too.
            continue
        seen.add(id(matrix))
        if grouped and grouped[-1][0] == address:
            grouped[-1][1].append(matrix)
        else:
            grouped.append((address, [matrix]))
    groups = [group for _, group in grouped]
    known = len(groups) >= 4 and len(groups[-1]) == 1 and len(groups[-3]) == 1 and len(groups[-2]) <= 2
    if known:
        layer = Layer(
            module,
            tuple(matrix for group in groups[:-3] for matrix in group),
            groups[-3][0],
            tuple(groups[-2]),
            groups[-1][0],
        )
        width = matrices.inputs_of(layer.narrow)
        whole = sum(matrices.outputs_of(matrix) for matrix in layer.widen)
        if whole in (width, 2 * width) and matrices.outputs_of(layer.mix) == matrices.outputs_of(layer.narrow):
            return layer
    raise TechniqueFailed(
        f"the layers of a {model.config.model_type} model are not attention followed by one feed-forward part"
    )


def width_field(model: PreTrainedModel) -> str:
    """The config's field that holds the feed-forward width; its value may be empty, which means a default."""
    for name in _WIDTHS:
        if hasattr(model.config, name):
            return name
    raise TechniqueFailed(f"the config of a {model.config.model_type} model names no feed-forward width")


def head_groups(model: PreTrainedModel) -> int:
    """Groups of heads that can only go together: each head by itself, or those that share keys and values."""
    heads = int(model.config.num_attention_heads)
    return int(getattr(model.config, "num_key_value_heads", None) or heads)


def rows_of_heads(model: PreTrainedModel) -> list[list[list[torch.Tensor]]]:
    """For each layer, each of its projections and each group of heads: the projection's outputs that this group reads.

    Found by gradients: when the mix reads nothing of a group, nothing that only this group reads has a gradient. Asked
    with random weights in place of the model's, which may be zero in places.

    Raises:
        TechniqueFailed: the outputs do not divide among the heads.
    """
    found_layers = layers(model)
    groups = head_groups(model)
    with _random_weights([matrix for layer in found_layers for matrix in (*layer.projections, layer.mix)]):
        everything = _gradients(model, found_layers)
        found: list[list[list[torch.Tensor]]] = [[[] for _ in layer.projections] for layer in found_layers]
        for group in range(groups):
            saved = [matrices.input_weights(layer.mix).clone() for layer in found_layers]
            for layer in found_layers:
                matrices.zero_inputs(layer.mix, columns_of(layer, group, groups))
            without = _gradients(model, found_layers)
            for layer, weights in zip(found_layers, saved, strict=True):
                matrices.input_weights(layer.mix).copy_(weights)
            for number, layer in enumerate(found_layers):
                for place in range(len(layer.projections)):
                    silent = everything[number][place] & ~without[number][place]
                    found[number][place].append(silent.nonzero().ravel())
    for layer, places in zip(found_layers, found, strict=True):
        for matrix, parts in zip(layer.projections, places, strict=True):
            sizes = {len(part) for part in parts}
            if len(sizes) != 1 or sum(len(part) for part in parts) != matrices.outputs_of(matrix):
                raise TechniqueFailed(
                    f"the attention of a {model.config.model_type} model does not divide among its {groups} "
                    f"{'groups of heads' if groups != model.config.num_attention_heads else 'heads'}"
                )
    return found


@contextmanager
def _random_weights(wanted: Sequence[Matrix]) -> Iterator[None]:
    draw = torch.Generator().manual_seed(0)
    saved = [matrix.weight.data for matrix in wanted]
    for matrix in wanted:
        noise = torch.randn(matrix.weight.shape, generator=draw)
        matrix.weight.data = noise / matrices.inputs_of(matrix) ** 0.5
    try:
        yield
    finally:
        for matrix, weights in zip(wanted, saved, strict=True):
            matrix.weight.data = weights


def columns_of(layer: Layer, group: int, groups: int) -> torch.Tensor:
    """The inputs of the mix that a group of heads gives."""
    size = matrices.inputs_of(layer.mix) // groups
    return torch.arange(group * size, (group + 1) * size)


def _gradients(model: PreTrainedModel, found: Sequence[Layer]) -> list[list[torch.Tensor]]:
    """For each layer and projection: which outputs have a gradient."""
    weights = [matrix.weight for layer in found for matrix in layer.projections]
    training = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    callable_model: Any = model
    with torch.enable_grad():
        logits = callable_model(input_ids=_ids(model)).logits
        # Weighted by no pattern that a normalization would cancel.
        target = (logits * torch.arange(1.0, logits.numel() + 1).reshape(logits.shape)).sum()
        gradients = torch.autograd.grad(target, weights, allow_unused=True)
    for weight, was in zip(weights, training, strict=True):
        weight.requires_grad_(was)
    rest = iter(gradients)
    return [[_has_gradient(matrix, next(rest)) for matrix in layer.projections] for layer in found]


def _has_gradient(matrix: Matrix, gradient: torch.Tensor | None) -> torch.Tensor:
    if gradient is None:
        return torch.zeros(matrices.outputs_of(matrix), dtype=torch.bool)
    by_output = gradient.transpose(0, 1) if isinstance(matrix, Conv1D) else gradient
    return by_output.abs().sum(dim=1) > 0


def _ids(model: PreTrainedModel) -> torch.Tensor:
    """A short text of different tokens."""
    token, padding = ordinary_token(model), model.config.pad_token_id
    ids = torch.arange(_TOKENS) * 7919 % int(model.config.vocab_size)
    return torch.where(ids == (-1 if padding is None else padding), token, ids).reshape(1, _TOKENS)


def _ask(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    callable_model: Any = model
    with torch.no_grad():
        logits: torch.Tensor = callable_model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits


@contextmanager
def _hooks(wanted: Sequence[tuple[torch.nn.Module, Any]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in wanted]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
