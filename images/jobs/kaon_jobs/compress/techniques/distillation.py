"""Knowledge distillation: a smaller student learns the original model's answers (Hinton et al. 2015).

Logits come from the shared, cached answers of the teacher. Hidden states and attention maps (Jiao et al. 2020), when
asked for, need the teacher itself beside the student; where the shapes differ, only what compares is compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from kaon.api.compressionjob import Distill, Finetune, Student
from kaon_jobs.compress.families import anatomy, encoder, faithful
from kaon_jobs.compress.families.encoder_shape import spread
from kaon_jobs.compress.techniques.structure import keep_layers
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.training.rounding import rounded_weights
from kaon_jobs.compress.training.teaching import (
    FINETUNE_EPOCHS,
    Batch,
    Loss,
    Plan,
    View,
    logits_loss,
    teach,
    views_to_learn,
)
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.onnx_text import longest_of

PROBED_TOKENS = 8
EPOCHS = 12
LEARNING_RATE = 3e-4
FINETUNE_RATE = 5e-5


class Distillation:
    """Trains a student: the model as it is, fewer of its layers, or one of another shape."""

    def __init__(self, parameters: Distill) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        wanted = self._parameters
        student = encoder.load(source)
        if wanted.keep_layers is not None:
            keep_layers(student, wanted.keep_layers, longest_of(source))
        if wanted.student is not None:
            seed = data.seed if wanted.seed is None else wanted.seed
            student = fresh(student, wanted.student, seed, longest_of(source))
        plan = Plan.of(wanted, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=data.seed)
        views = views_to_learn(wanted, plan, lambda number: data.encoded(source, number), data.answers)
        loss = logits_loss(wanted)
        outputs = {}
        if wanted.hidden_loss or wanted.attention_loss:
            outputs = {"output_hidden_states": True, "output_attentions": bool(wanted.attention_loss)}
            student.set_attn_implementation("eager")
            loss = _with_inner_states(loss, student, data, wanted)
        with (
            rounded_weights(student, wanted.quantization_aware),
            encoder.last_layer_for_first_token(student, not outputs),
        ):
            teach(
                encoder.Pupil(student, outputs),
                views,
                data.rows.targets,
                plan,
                loss,
                threads=data.threads,
                progress=lambda share: data.progress("distilling", share),
                dropout=False,
            )
        encoder.save(student, source, target)


class Finetuning:
    """Trains on the labels."""

    def __init__(self, parameters: Finetune) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        model = encoder.load(source)
        finetune(model, source, data, self._parameters)
        encoder.save(model, source, target)


def finetune(model: PreTrainedModel, source: Path, data: Lessons, parameters: Finetune) -> None:
    """Trains the model in place on the labels, its texts read by the tokenizer of `source`."""
    plan = Plan.of(parameters, epochs=FINETUNE_EPOCHS, learning_rate=FINETUNE_RATE, seed=data.seed)
    with rounded_weights(model, parameters.quantization_aware):
        teach(
            encoder.Pupil(model),
            [View(data.encoded(source, 0))],
            data.rows.targets,
            plan,
            lambda found, batch: functional.cross_entropy(found.logits, batch.labels),
            threads=data.threads,
            progress=lambda share: data.progress("fine-tuning", share),
        )


def fresh(model: PreTrainedModel, shape: Student, seed: int, longest: int) -> PreTrainedModel:
    """An untrained classifier of that shape, with the model's tokens and labels.

    Raises:
        TechniqueFailed: the shape is none, or the architecture cannot have it.
    """
    deep, wide = anatomy.depth_of(model), int(model.config.hidden_size)
    told = model.config.to_dict()
    fields: dict[str, Any] = {}
    for field, value in (
        ("num_hidden_layers", shape.layers),
        ("hidden_size", shape.hidden_size),
        ("num_attention_heads", shape.attention_heads),
        (anatomy.width_field(model), shape.intermediate_size),
    ):
        if value is not None:
            fields[model.config.attribute_map.get(field, field)] = value
    layers = shape.layers or deep
    for name, values in told.items():
        if "layer" in name and isinstance(values, list | tuple) and len(values) == deep:
            fields[name] = [values[index] for index in _spread_over(deep, layers)]
    hidden = shape.hidden_size or wide
    heads = shape.attention_heads or int(model.config.num_attention_heads)
    if hidden % heads:
        raise TechniqueFailed(f"student: hiddenSize {hidden} is no multiple of {heads} attentionHeads")
    groups = told.get("num_key_value_heads")
    if groups is not None and heads % groups:
        # As many heads share keys and values as in the teacher, where that divides; else none do.
        shared = int(model.config.num_attention_heads) // groups
        fields["num_key_value_heads"] = heads // shared if heads % shared == 0 else heads
    if told.get("head_dim") is not None:
        fields["head_dim"] = hidden // heads
    if told.get("pooler_hidden_size") == wide:
        fields["pooler_hidden_size"] = hidden
    torch.manual_seed(seed)
    try:
        config: Any = AutoConfig.for_model(**{**told, **fields})
        made: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
        faithful.answers(made.eval(), faithful.probes(made, longest))
    except (ValueError, KeyError, TypeError, RuntimeError, IndexError) as error:
        first = str(error).strip().split("\n", 1)[0][:300]
        raise TechniqueFailed(f"student: a {model.config.model_type} model cannot have this shape: {first}") from error
    return made


def _spread_over(deep: int, layers: int) -> list[int]:
    """For each of a student's layers, which of the teacher's it stands for; a deeper student repeats them."""
    return list(spread(deep, layers)) if layers <= deep else [index * deep // layers for index in range(layers)]


def _with_inner_states(loss: Loss, student: PreTrainedModel, data: Lessons, wanted: Distill) -> Loss:
    """Adds the distance of hidden states and attention maps, layer by layer, to a loss.

    Raises:
        TechniqueFailed: the student's tokens or width are not the teacher's, or one of them does not tell its inner
            states.
    """
    teacher = encoder.load(data.teacher)
    teacher.set_attn_implementation("eager")
    same = teacher.config.hidden_size == student.config.hidden_size
    if teacher.config.vocab_size != student.config.vocab_size or (wanted.hidden_loss and not same):
        raise TechniqueFailed(
            "hiddenLoss and attentionLoss compare token by token: put vocabulary after distill, and give the "
            "student the teacher's hiddenSize"
        )
    for model in (teacher, student):
        _check_that_it_tells(model, wanted)
    deep, flat = anatomy.depth_of(teacher), anatomy.depth_of(student)
    pairs = [(round((index + 1) * deep / flat), index + 1) for index in range(flat)]
    callable_teacher: Any = teacher

    def more(found: Any, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            theirs = callable_teacher(**batch.inputs, output_hidden_states=True, output_attentions=True)
        total = loss(found, batch)
        seen = batch.inputs["attention_mask"].unsqueeze(-1).float()
        for high, low in pairs:
            if wanted.hidden_loss:
                apart = (found.hidden_states[low] - theirs.hidden_states[high]) * seen
                total = total + wanted.hidden_loss * apart.pow(2).sum() / (seen.sum() * apart.shape[-1])
            if wanted.attention_loss:
                ours, other = found.attentions[low - 1].mean(dim=1), theirs.attentions[high - 1].mean(dim=1)
                total = total + wanted.attention_loss * ((ours - other) * seen).pow(2).sum() / seen.sum()
        return total

    return more


def _check_that_it_tells(model: PreTrainedModel, wanted: Distill) -> None:
    callable_model: Any = model
    depth = anatomy.depth_of(model)
    with torch.no_grad():
        found = callable_model(
            input_ids=faithful.probes(model, PROBED_TOKENS)[0],
            output_hidden_states=True,
            output_attentions=bool(wanted.attention_loss),
        )
    hidden, maps = found.get("hidden_states"), found.get("attentions")
    for name, weight, there in (
        ("hiddenLoss", wanted.hidden_loss, hidden is not None and len(hidden) == depth + 1),
        (
            "attentionLoss",
            wanted.attention_loss,
            maps is not None and len(maps) == depth and all(one is not None and one.dim() == 4 for one in maps),
        ),
    ):
        if weight and not there:
            what = "hidden states" if name == "hiddenLoss" else "attention maps"
            raise TechniqueFailed(
                f"{name} needs the {what} of each layer, and a {model.config.model_type} model does not tell "
                f"them. Leave {name} out"
            )
