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
from kaon_jobs.compress import encoder
from kaon_jobs.compress.lessons import Lessons
from kaon_jobs.compress.techniques.rounding import rounded_weights
from kaon_jobs.compress.techniques.structure import keep_layers
from kaon_jobs.compress.techniques.teaching import (
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
            keep_layers(student, wanted.keep_layers)
        if wanted.student is not None:
            student = fresh(student, wanted.student, data.seed if wanted.seed is None else wanted.seed)
        plan = Plan.of(wanted, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=data.seed)
        views = views_to_learn(wanted, plan, lambda number: data.encoded(source, number), data.answers)
        loss = logits_loss(wanted)
        outputs = {}
        if wanted.hidden_loss or wanted.attention_loss:
            loss = _with_inner_states(loss, student, source, data, wanted)
            outputs = {"output_hidden_states": True, "output_attentions": bool(wanted.attention_loss)}
            student.set_attn_implementation("eager")
        with (
            rounded_weights(student, wanted.quantization_aware),
            encoder.last_layer_for_first_token(student, not outputs),
        ):
            teach(
                encoder.Pupil(student, outputs),
                views,
                data.rows.label_ids,
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
            data.rows.label_ids,
            plan,
            lambda found, batch: functional.cross_entropy(found.logits, batch.labels),
            threads=data.threads,
            progress=lambda share: data.progress("fine-tuning", share),
        )


def fresh(model: PreTrainedModel, shape: Student, seed: int) -> PreTrainedModel:
    """An untrained classifier of that shape, with the model's tokens and labels.

    Raises:
        TechniqueFailed: the shape is none.
    """
    config: Any = AutoConfig.for_model(**model.config.to_dict())
    for field, value in (
        ("num_hidden_layers", shape.layers),
        ("hidden_size", shape.hidden_size),
        ("num_attention_heads", shape.attention_heads),
        (encoder.width_field(model), shape.intermediate_size),
    ):
        if value is not None:
            setattr(config, field, value)
    if config.hidden_size % config.num_attention_heads:
        raise TechniqueFailed(
            f"student: hiddenSize {config.hidden_size} is no multiple of {config.num_attention_heads} attentionHeads"
        )
    torch.manual_seed(seed)
    made: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    return made


def _with_inner_states(loss: Loss, student: PreTrainedModel, source: Path, data: Lessons, wanted: Distill) -> Loss:
    """Adds the distance of hidden states and attention maps, layer by layer, to a loss.

    Raises:
        TechniqueFailed: the student's tokens or width are not the teacher's.
    """
    teacher = encoder.load(data.teacher)
    teacher.set_attn_implementation("eager")
    same = teacher.config.hidden_size == student.config.hidden_size
    if teacher.config.vocab_size != student.config.vocab_size or (wanted.hidden_loss and not same):
        raise TechniqueFailed(
            "hiddenLoss and attentionLoss compare token by token: put vocabulary after distill, and give the student "
            "the teacher's hiddenSize"
        )
    deep, flat = teacher.config.num_hidden_layers, student.config.num_hidden_layers
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
