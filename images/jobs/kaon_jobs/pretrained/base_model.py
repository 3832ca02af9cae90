"""The base model: a Hugging Face folder from the store, loaded with a classification head of its own.

Only safetensors weights are read: pickled ones are code. Nothing is looked up on a hub. Weights that do not fit the
configuration are refused by name: the library would draw new ones and say so in a log. Touches the store and a scratch
directory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from kaon_jobs.budget import MEMORY_FIELD
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import memory_limit
from kaon_jobs.predict.positions import longest_input, ordinary_token
from kaon_jobs.pretrained.folder import (
    CONFIG_FILE,
    MAX_WEIGHT_BYTES,
    PREPROCESSOR_FILE,
    WEIGHTS_FILE,
    too_large,
    weight_sizes,
)
from kaon_jobs.pretrained.recipe_fields import set_dropout
from kaon_jobs.pretrained.refusing import refusing

_NAMED = 4
"""Weights that a message names."""
_WIDEST = 4
"""Bytes of float32 for each byte of the narrowest weights that are read."""
_LARGEST_HEAD_BYTES = 64 * 1024**2
MODULES_FOR_A_TENSOR = 20
"""The most modules for each tensor of the weights; models of any family have two or three."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What kind of model a folder is taken for."""

    auto: Any
    """The class of transformers that knows all architectures of the kind."""
    probe: Callable[[Any], dict[str, torch.Tensor]]
    """Of a model: something small that its body can be called with."""
    files: str
    """What a folder should hold, for a sentence."""


def _tokens(model: Any) -> dict[str, torch.Tensor]:
    ids = torch.full((1, 4), ordinary_token(model), dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _pixels(model: Any) -> dict[str, torch.Tensor]:
    height, width = sides_of(model.config) or (64, 64)
    return {"pixel_values": torch.zeros(1, int(getattr(model.config, "num_channels", 3)), height, width)}


TEXTS = Reads(
    AutoModelForSequenceClassification,
    _tokens,
    f"{CONFIG_FILE}, tokenizer.json and {WEIGHTS_FILE} that belong together",
)
IMAGES = Reads(
    AutoModelForImageClassification,
    _pixels,
    f"{CONFIG_FILE}, {PREPROCESSOR_FILE} and {WEIGHTS_FILE} that belong together",
)


def sides_of(config: Any) -> tuple[int, int] | None:
    """Height and width of the images that a configuration is for, where it names them."""
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return size[0], size[1]
    return None


def load_config(directory: Path, uri: str, reads: Reads = TEXTS) -> PreTrainedConfig:
    """The model's configuration, without what only changes how it is run elsewhere.

    Raises:
        StageFailure: ModelUnreadable.
    """
    with refusing(partial(_unreadable, uri, reads, "config.json")):
        config: Any = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        # Outputs that training would gather, and kernels that this machine need not have.
        config.output_hidden_states = config.output_attentions = False
        config.return_dict = True
        config._attn_implementation = None
        if hasattr(config, "use_cache"):
            config.use_cache = False
    return config  # type: ignore[no-any-return]


def load_model(
    directory: Path,
    config: PreTrainedConfig,
    uri: str,
    labels: Sequence[str],
    dropout: float | None,
    padding: int | None = None,
    reads: Reads = TEXTS,
) -> PreTrainedModel:
    """The model with a fresh head of one output per label, in float32.

    Args:
        padding: of texts the id of the tokenizer's padding token, for a configuration that names none.

    Raises:
        StageFailure: ModelUnreadable, ModelWeightsMismatch, ModelTooLarge or RecipeUnsupported.
    """
    own: Any = config
    if dropout is not None:
        set_dropout(own, dropout)
    refusal = partial(_unreadable, uri, reads, "model")
    with refusing(refusal):
        if padding is not None and getattr(own, "pad_token_id", None) is None:
            own.pad_token_id = padding
        own.num_labels = len(labels)
        own.id2label = dict(enumerate(labels))
        own.label2id = {label: index for index, label in enumerate(labels)}
        own.problem_type = "single_label_classification"
    check_size(own, directory, uri, reads)
    with refusing(refusal):
        model, found = reads.auto.from_pretrained(
            directory,
            config=own,
            # A base that was fine-tuned for other classes brings a head of another size: it is replaced.
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype="float32",
            output_loading_info=True,
        )
        encoder = _encoder_weights(model, reads)
    _check_weights(model, encoder, found, uri)
    return model  # type: ignore[no-any-return]


def check_length(model: PreTrainedModel, wanted: int, uri: str) -> None:
    """Refuses a sequence that the model cannot read, or was not made for.

    Raises:
        StageFailure: SequenceTooLong.
    """
    with refusing(partial(_unreadable, uri, TEXTS, "model")):
        table = longest_input(model)
    declared = getattr(model.config, "max_position_embeddings", None)
    longest = table if table is not None else declared
    if isinstance(longest, int) and longest < wanted:
        raise StageFailure(
            "SequenceTooLong",
            f"recipe.maxSequenceLength is {wanted}, and the model at {uri} reads at most {longest} tokens. Set "
            f"recipe.maxSequenceLength to {longest} or less; longer texts are cut there.",
        )


def check_size(config: Any, directory: Path, uri: str, reads: Reads = TEXTS) -> None:
    """Refuses what config.json describes by its size, before any memory is asked for it.

    Raises:
        StageFailure: ModelWeightsMismatch, ModelUnreadable or ModelTooLarge.
    """
    held = weight_sizes(directory)
    layers = getattr(config, "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > len(held):
        raise StageFailure(
            "ModelWeightsMismatch",
            f"config.json at {uri} describes {layers:,} layers, and the weights hold {len(held):,} tensors in all. "
            "Upload config.json and the weights of one and the same model.",
        )
    most = MODULES_FOR_A_TENSOR * len(held) + 1000
    refusal = partial(_unreadable, uri, reads, "config.json")
    with refusing(refusal), torch.device("meta"), _at_most(most, len(held), uri):
        described: Any = reads.auto.from_config(config)
    sizes = {id(one): one.numel() * 4 for one in [*described.parameters(), *described.buffers()]}
    if sum(sizes.values()) > MAX_WEIGHT_BYTES:
        raise too_large(
            uri,
            f"by config.json it has {sum(sizes.values()):,} bytes of float32 weights, where {WEIGHTS_FILE} holds "
            f"{sum(held.values()):,}",
        )
    # What the file lacks is drawn, or computed number by number. Only a head may be missing, and a head is small.
    if sum(sizes.values()) > _WIDEST * sum(held.values()) + _LARGEST_HEAD_BYTES:
        raise StageFailure(
            "ModelWeightsMismatch",
            f"config.json at {uri} describes {sum(sizes.values()):,} bytes of float32 weights, and {WEIGHTS_FILE} "
            f"holds {sum(held.values()):,} bytes. Upload config.json and the weights of one and the same model.",
        )
    _check_memory(sum({id(one): one.numel() for one in described.parameters()}.values()), uri)


def _check_memory(parameters: int, uri: str) -> None:
    """Refuses a model whose training has no room in this pod: it would be ended, and started again."""
    # On a processor each parameter has a weight, a gradient and two means of the optimizer; a GPU has its own memory.
    each = 4 if torch.cuda.is_available() else 16
    limit = memory_limit()
    if parameters * each > limit:
        raise StageFailure(
            "ModelTooLarge",
            f"The model at {uri} has {parameters:,} parameters, and to train them takes at least {parameters * each:,} "
            f"bytes of memory; the pod's limit is {limit:,}. Raise {MEMORY_FIELD}, or use a smaller base model in "
            "spec.model.base.",
        )


@contextmanager
def _at_most(most: int, tensors: int, uri: str) -> Iterator[None]:
    """Refuses to build more modules than that: without weights they cost hours, not memory."""
    built = 0

    def count(module: Any, name: str, part: Any) -> None:
        nonlocal built
        built += 1
        if built > most:
            raise StageFailure(
                "ModelWeightsMismatch",
                f"config.json at {uri} describes more than {most:,} modules, and the weights hold {tensors:,} tensors "
                "in all. Upload config.json and the weights of one and the same model.",
            )

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _encoder_weights(model: Any, reads: Reads) -> set[str]:
    """Names of the weights of those parts on which the hidden states depend. Other parts are a head: a pooler too."""
    body = model.base_model
    given = reads.probe(model)
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            output = body(**given)
    finally:
        model.train(training)
    reached: set[int] = set()
    seen: set[Any] = set()
    waiting = [output[0].grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            reached.add(id(node.variable))
        waiting.extend(next_node for next_node, _ in node.next_functions)
    parts = {
        name
        for name, part in [*body.named_children(), *body.named_parameters(recurse=False)]
        if any(id(weight) in reached for weight in _weights(part))
    }
    prefix = "" if body is model else f"{model.base_model_prefix}."
    # A whole part counts: of a mixture of experts one input reaches few.
    return {
        prefix + name for name, _ in body.named_parameters(remove_duplicate=False) if name.split(".", 1)[0] in parts
    }


def _weights(part: Any) -> list[torch.Tensor]:
    return [part] if isinstance(part, torch.Tensor) else list(part.parameters())


def _check_weights(model: Any, encoder: set[str], found: dict[str, Any], uri: str) -> None:
    lost = sorted(encoder & set(found["missing_keys"]))
    if lost:
        raise StageFailure(
            "ModelWeightsMismatch",
            f"The weights at {uri} do not fit config.json: {len(lost)} of {len(encoder)} weights of the encoder are "
            f"missing, such as {_some(lost)}{_instead(found['unexpected_keys'])}. Only the classification head may be "
            "missing. Upload config.json and the weights of one and the same model.",
        )
    other = sorted(one for one in found["mismatched_keys"] if one[0] in encoder)
    if other:
        # A matrix says more than its bias.
        name, before, after = max(other, key=lambda one: len(one[1]))
        raise StageFailure(
            "ModelWeightsMismatch",
            f"The weights at {uri} do not fit config.json: {len(other)} of {len(encoder)} weights of the encoder have "
            f"another size, such as {name} with {list(before)} instead of {list(after)}. Only the classification head "
            "may be of another size. Upload config.json and the weights of one and the same model.",
        )
    surplus = sorted(name for name in found["unexpected_keys"] if _is_of_encoder(name, model))
    if surplus:
        raise StageFailure(
            "ModelWeightsMismatch",
            f"The weights at {uri} do not fit config.json: {len(surplus)} weights of the encoder have no place in the "
            f"model, such as {_some(surplus)}. config.json may name too few layers or another architecture. Upload "
            "config.json and the weights of one and the same model.",
        )
    wrong = [name for name, weight in model.named_parameters() if name in encoder and not weight.isfinite().all()]
    if wrong:
        raise StageFailure(
            "ModelUnreadable",
            f"The weights at {uri} hold values that are no finite numbers: {len(wrong)} of {len(encoder)} weights of "
            f"the encoder, such as {_some(wrong)}. Upload {WEIGHTS_FILE} again.",
        )


def _is_of_encoder(name: str, model: Any) -> bool:
    """Whether a weight without a place belongs to a part that the encoder has. Names that begin with an underscore are
    a training's private state, and a whole part that this model lacks (a pooler, a language model's head) is a head."""
    short = re.sub(rf"^{re.escape(model.base_model_prefix)}\.", "", name)
    part = short.split(".", 1)[0]
    children = {child for child, _ in model.base_model.named_children()}
    return part in children and not short.rsplit(".", 1)[-1].startswith("_")


def _instead(unexpected: Iterable[str]) -> str:
    names = sorted(unexpected)
    return f", while {len(names)} others have no place, such as {_some(names[:2])}" if names else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _unreadable(uri: str, reads: Reads, part: str, cause: str) -> StageFailure:
    return StageFailure(
        "ModelUnreadable",
        f"The {part} at {uri} cannot be loaded: {cause}. It should be a Hugging Face model with {reads.files}.",
    )
