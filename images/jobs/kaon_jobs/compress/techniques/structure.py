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
from kaon_jobs.compress.families import anatomy, encoder, faithful, matrices
from kaon_jobs.compress.families.encoder_shape import spread
from kaon_jobs.compress.families.heads import without_empty_heads
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.onnx_text import longest_of, token_rows

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
                depth = anatomy.depth_of(model)
                left = max(1, round(depth * (1 - (self._parameters.ratio or 0.0))))
                keep_layers(model, self._parameters.keep_layers or spread(depth, left), longest_of(source))
            case "ffn":
                scores = _scores(model, source, data, "narrow")
                prune_ffn(model, self._parameters.ratio or 0.0, scores, longest_of(source))
            case "channels":
                raise TechniqueFailed("method: channels is for networks; of a text encoder, prune ffn, heads or layers")
            case "heads":
                prune_heads(model, self._parameters.ratio or 0.0, _scores(model, source, data, "mix"))
        encoder.save(model, source, target)


def keep_layers(model: PreTrainedModel, keep: Sequence[int], longest: int) -> None:
    """Leaves only these layers, in their order.

    Raises:
        TechniqueFailed: there are no such layers, or the config cannot say that only these are left.
    """
    there: Any = anatomy.layer_list(model)
    depth, kind = anatomy.depth_of(model), model.config.model_type
    wanted = sorted(set(keep))
    if wanted[-1] >= depth:
        raise TechniqueFailed(f"keepLayers: {wanted[-1]} is not there; the model has the layers 0 to {depth - 1}")
    if len(there) not in (1, depth):
        raise TechniqueFailed(
            f"the {depth} layers of this {kind} model share {len(there)} sets of weights, and "
            "its config cannot say which of them are left out"
        )
    if len(there) == depth:
        chosen = [there[index] for index in wanted]
        del there[:]
        there.extend(chosen)
        for index, layer in enumerate(chosen):
            for module in layer.modules():
                if hasattr(module, "layer_idx"):
                    module.layer_idx = index
    for lists in _lists_of(model.config, depth):
        said = {name: getattr(model.config, name) for name in ["num_hidden_layers", *lists]}
        model.config.num_hidden_layers = len(wanted)
        for name in lists:
            setattr(model.config, name, [said[name][index] for index in wanted])
        if faithful.describes(model.config, model, longest):
            return
        for name, value in said.items():
            setattr(model.config, name, value)
    first = " Layer 0 of such a model is built otherwise than the rest: keep it." if 0 not in wanted else ""
    raise TechniqueFailed(
        f"a {kind} model with the layers {', '.join(map(str, wanted))} alone cannot be described by its config.{first}"
    )


def _lists_of(config: Any, depth: int) -> list[list[str]]:
    """Which lists of a config may hold a value for each layer, the likelier answer first."""
    every = [name for name, value in vars(config).items() if isinstance(value, list | tuple) and len(value) == depth]
    named = [name for name in every if "layer" in name]
    return [named] if named == every else [named, every]


def prune_ffn(model: PreTrainedModel, ratio: float, scores: Sequence[torch.Tensor], longest: int) -> None:
    """Narrows every feed-forward part to the same width, its best neurons.

    Raises:
        TechniqueFailed: there is nothing to leave out, or the parts are no neurons that can go one by one.
    """
    field = anatomy.width_field(model)
    found = anatomy.layers(model)
    width = matrices.inputs_of(found[0].narrow)
    smaller = max(MULTIPLE, round(width * (1 - ratio) / MULTIPLE) * MULTIPLE)
    if smaller >= width:
        raise TechniqueFailed(f"a ratio of {ratio:g} leaves the feed-forward width at {width}")
    kept = [torch.topk(score, smaller).indices.sort().values for score in scores]
    texts = faithful.probes(model, longest)
    for layer, chosen in zip(found, kept, strict=True):
        gone = torch.ones(width, dtype=torch.bool)
        gone[chosen] = False
        matrices.zero_inputs(layer.narrow, gone.nonzero().ravel())
    silenced = faithful.answers(model, texts)
    for layer, chosen in zip(found, kept, strict=True):
        for matrix in layer.widen:
            # A matrix that holds a gate too has the width twice, one behind the other.
            times = matrices.outputs_of(matrix) // width
            matrices.keep_outputs(matrix, torch.cat([chosen + width * time for time in range(times)]))
        matrices.keep_inputs(layer.narrow, chosen)
    setattr(model.config, field, smaller)
    if not faithful.alike(faithful.answers(model, texts), silenced):
        raise TechniqueFailed(
            f"the feed-forward neurons of a {model.config.model_type} model cannot go one by one: "
            "without those that nothing reads it answers otherwise"
        )


def prune_heads(model: PreTrainedModel, ratio: float, scores: Sequence[torch.Tensor]) -> None:
    """Empties the heads that matter least, as many in each layer; where heads share keys and values, all of a group.

    The shapes stay, so that from_pretrained loads them; an empty head stays empty in training, since its gradient is
    zero, and is left out at export (heads.py).

    Raises:
        TechniqueFailed: no head goes, or they could not be left out at export.
    """
    groups = anatomy.head_groups(model)
    shared = groups != model.config.num_attention_heads
    gone = min(groups - 1, round(groups * ratio))
    if gone == 0:
        what = f"{groups} groups of heads that share keys and values" if shared else f"{groups} heads"
        raise TechniqueFailed(f"a ratio of {ratio:g} leaves all {what}")
    rows = anatomy.rows_of_heads(model)
    for layer, places, score in zip(anatomy.layers(model), rows, scores, strict=True):
        by_group = score.reshape(groups, -1).sum(dim=1)
        for group in torch.topk(by_group, gone, largest=False).indices.tolist():
            for matrix, parts in zip(layer.projections, places, strict=True):
                matrices.zero_outputs(matrix, parts[group])
            matrices.zero_inputs(layer.mix, anatomy.columns_of(layer, group, groups))
    if without_empty_heads(model) is model:
        raise TechniqueFailed(
            f"empty heads of a {model.config.model_type} model cannot be left out of its graph, "
            "so that nothing would be smaller or faster"
        )


def _scores(model: PreTrainedModel, source: Path, data: Lessons, name: str) -> list[torch.Tensor]:
    """For each layer and each input of its matrix `name`: the sum over training rows of |activation x gradient|."""
    # More than one where layers share a matrix.
    inputs: dict[int, list[torch.Tensor]] = {}
    found: list[torch.Tensor] = []
    handles = []
    for index, layer in enumerate(anatomy.layers(model)):
        matrix: matrices.Matrix = getattr(layer, name)
        found.append(torch.zeros(matrices.inputs_of(matrix)))

        def keep(module: Any, given: tuple[torch.Tensor, ...], index: int = index) -> None:
            given[0].retain_grad()
            inputs.setdefault(index, []).append(given[0])

        handles.append(matrix.register_forward_pre_hook(keep))
    chosen = data.drawn_rows(SCORED_ROWS)
    rows = list(token_rows(source, chosen.inputs))
    callable_model: Any = model
    for ids, mask, labels in encoder.batches(rows, chosen.targets, int(model.config.pad_token_id or 0)):
        callable_model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        for index, parts in inputs.items():
            for given in parts:
                if given.grad is not None:
                    found[index] += (given * given.grad).abs().reshape(-1, given.shape[-1]).sum(dim=0).detach()
        inputs.clear()
        model.zero_grad()
    for handle in handles:
        handle.remove()
    return found
