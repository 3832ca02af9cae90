"""The training loop of techniques: short, seeded, and the same each time on one kind of processor.

Not the Trainer of the train stage: a search trains dozens of small students for a minute each, from token ids and
teacher's logits in memory, without checkpoints (a trial is the unit that is kept), evaluation or logs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from kaon.api.compressionjob import Training
from kaon_jobs.compress import encoder
from kaon_jobs.compress.techniques import TechniqueFailed
from kaon_jobs.processor import multiplies_bf16
from kaon_jobs.train.loop import GroupedByLength

log = logging.getLogger(__name__)

WARM_UP = 0.06
WEIGHT_DECAY = 0.01
MAX_NORM = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """One form of the training rows: token ids, and the teacher's logits for exactly these texts."""

    rows: Sequence[Sequence[int]]
    answers: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    answers: torch.Tensor | None


Loss = Callable[[Any, Batch], torch.Tensor]
"""(the model's outputs, the batch) -> the loss."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast."""

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int

    @classmethod
    def of(cls, parameters: Training, *, epochs: int, learning_rate: float, seed: int) -> Plan:
        """The user's words, and these defaults where there are none."""
        return cls(
            parameters.epochs or epochs,
            parameters.learning_rate or learning_rate,
            parameters.batch_size or 32,
            seed if parameters.seed is None else parameters.seed,
        )


def teach(
    model: PreTrainedModel,
    views: Sequence[View],
    labels: NDArray[np.int64],
    plan: Plan,
    loss_of: Loss,
    *,
    threads: int,
    progress: Callable[[float], None],
    outputs: dict[str, bool] | None = None,
    dropout: bool = True,
) -> None:
    """Trains the model in place; each epoch sees the next view. Leaves it in evaluation mode.

    In BF16 where the processor multiplies it, weights and their changes in float32.

    Args:
        dropout: a student of a teacher's answers has no need of it, and learns faster without.

    Raises:
        TechniqueFailed: the loss is no number any more.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    steps = plan.epochs * -(-len(labels) // plan.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    callable_model: Any = model
    model.train(dropout)
    start = time.monotonic()
    brief = multiplies_bf16()
    for number, batch in enumerate(_batches(views, labels, plan, int(model.config.pad_token_id or 0))):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=brief):
            found = callable_model(input_ids=batch.ids, attention_mask=batch.mask, **(outputs or {}))
        found["logits"] = found["logits"].float()
        loss = loss_of(found, batch)
        if not torch.isfinite(loss):
            raise TechniqueFailed(
                f"training diverged at step {number} of {steps}; lower learningRate from {plan.learning_rate:g}"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, MAX_NORM)
        optimizer.step()
        scheduler.step()
        if number % 20 == 0:
            progress(number / steps)
    model.eval()
    log.info("trained %d steps in %.0f s", steps, time.monotonic() - start)


def _rate(step: int, steps: int) -> float:
    warm = max(1, int(WARM_UP * steps))
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


def _batches(views: Sequence[View], labels: NDArray[np.int64], plan: Plan, pad_id: int) -> Iterator[Batch]:
    for epoch in range(plan.epochs):
        view = views[epoch % len(views)]
        sampler = GroupedByLength([len(row) for row in view.rows], plan.batch_size, plan.seed)
        sampler.epoch = epoch
        order = list(sampler)
        for start in range(0, len(order), plan.batch_size):
            part = order[start : start + plan.batch_size]
            ids, mask = encoder.pad([view.rows[row] for row in part], pad_id)
            answers = None if view.answers is None else view.answers[part]
            yield Batch(ids, mask, torch.as_tensor(labels[part]), answers)
