"""The training loop of techniques: short, seeded, and the same each time on one kind of processor.

Not the Trainer of the train stage: a search trains dozens of small students for a minute each, from token ids and
teacher's logits in memory, without checkpoints (a trial is the unit that is kept), evaluation or logs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from kaon.api.compressionjob import Distill, Training
from kaon_jobs.compress.search.shape import BATCH
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.learn.loop import GroupedByLength
from kaon_jobs.processor import multiplies_bf16

log = logging.getLogger(__name__)

WARM_UP = 0.06
WEIGHT_DECAY = 0.01
MAX_NORM = 1.0

# What a step means that leaves it out.
FINETUNE_EPOCHS = 2
TEMPERATURE = 2.0
ALPHA = 0.1
VIEWS = 4


@dataclass(frozen=True, slots=True)
class View:
    """One form of the training rows: token ids or an array of each, and the teacher's logits for exactly these."""

    rows: Sequence[Any]
    answers: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees."""

    inputs: dict[str, torch.Tensor]
    """As the model is called with."""
    labels: torch.Tensor
    answers: torch.Tensor | None


class Pupil(Protocol):
    """A model that learns: what it has to be besides a torch module."""

    module: torch.nn.Module
    brief: bool
    """Whether it learns in BF16 where the processor multiplies it, weights and their changes in float32."""

    def lengths(self, view: View) -> list[int] | None:
        """How long each row is, where batches should hold rows of similar length."""
        ...

    def inputs(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """A batch of rows as the model is called with."""
        ...

    def answer(self, inputs: dict[str, torch.Tensor]) -> Any:
        """What the model makes of a batch; `logits` are its scores."""
        ...


Loss = Callable[[Any, Batch], torch.Tensor]
"""(what the pupil answers, the batch) -> the loss."""


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
            parameters.batch_size or BATCH,
            seed if parameters.seed is None else parameters.seed,
        )


def teach(
    pupil: Pupil,
    views: Sequence[View],
    labels: NDArray[Any],
    plan: Plan,
    loss_of: Loss,
    *,
    threads: int,
    progress: Callable[[float], None],
    dropout: bool = True,
) -> None:
    """Trains the model in place; each epoch sees the next view. Leaves it in evaluation mode.

    Args:
        labels: class ids (int64), or numbers (float64).
        dropout: a student of a teacher's answers has no need of it, and learns faster without.

    Raises:
        TechniqueFailed: the loss is no number any more.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    trained = [parameter for parameter in pupil.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    steps = plan.epochs * -(-len(labels) // plan.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    pupil.module.train(dropout)
    start = time.monotonic()
    brief = pupil.brief and multiplies_bf16()
    for number, batch in enumerate(_batches(pupil, views, labels, plan)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=brief):
            found = pupil.answer(batch.inputs)
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
    pupil.module.eval()
    log.info("trained %d steps in %.0f s", steps, time.monotonic() - start)


def views_to_learn(
    wanted: Distill, plan: Plan, rows: Callable[[int], Sequence[Any]], answers: Callable[[int], NDArray[np.float32]]
) -> list[View]:
    """The forms of the training rows that distillation sees, by their numbers, each with the teacher's answers."""
    count = min(wanted.views or VIEWS, plan.epochs)
    return [View(rows(number), torch.as_tensor(answers(number))) for number in range(count)]


def labels_loss(found: Any, batch: Batch) -> torch.Tensor:
    """The distance from the labels: cross entropy of classes, the mean squared error of numbers."""
    if batch.labels.is_floating_point():
        return functional.mse_loss(found.logits[:, 0], batch.labels.to(found.logits.dtype))
    return functional.cross_entropy(found.logits, batch.labels)


def numbers_loss(wanted: Distill) -> Loss:
    """(1 - alpha) of the mean squared distance from the teacher's predictions, alpha of that from the labels."""
    alpha = ALPHA if wanted.alpha is None else wanted.alpha

    def loss(found: Any, batch: Batch) -> torch.Tensor:
        assert batch.answers is not None
        return (1 - alpha) * functional.mse_loss(found.logits, batch.answers) + alpha * labels_loss(found, batch)

    return loss


def logits_loss(wanted: Distill) -> Loss:
    """(1 - alpha) of the distance from the teacher's softened answers, alpha of that from the labels. Of classes."""
    temperature = wanted.temperature or TEMPERATURE
    alpha = ALPHA if wanted.alpha is None else wanted.alpha

    def loss(found: Any, batch: Batch) -> torch.Tensor:
        assert batch.answers is not None
        soft = functional.kl_div(
            functional.log_softmax(found.logits / temperature, dim=1),
            functional.log_softmax(batch.answers / temperature, dim=1),
            log_target=True,
            reduction="batchmean",
        )
        hard = labels_loss(found, batch) if alpha else 0.0
        # The square keeps the gradients of both parts comparable at any temperature (Hinton et al. 2015).
        return (1 - alpha) * temperature**2 * soft + alpha * hard

    return loss


def _rate(step: int, steps: int) -> float:
    warm = max(1, int(WARM_UP * steps))
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))


def _batches(pupil: Pupil, views: Sequence[View], labels: NDArray[Any], plan: Plan) -> Iterator[Batch]:
    for epoch in range(plan.epochs):
        view = views[epoch % len(views)]
        lengths = pupil.lengths(view)
        if lengths is None:
            order = np.random.default_rng([plan.seed, epoch]).permutation(len(labels)).tolist()
        else:
            sampler = GroupedByLength(lengths, plan.batch_size, plan.seed)
            sampler.epoch = epoch
            order = list(sampler)
        for start in range(0, len(order), plan.batch_size):
            part = order[start : start + plan.batch_size]
            answers = None if view.answers is None else view.answers[part]
            yield Batch(pupil.inputs([view.rows[row] for row in part]), torch.as_tensor(labels[part]), answers)
