"""The training loop: transformers.Trainer, set up from a Recipe. Resumes exactly, stops at SIGTERM.

A resumed training gives the same weights as one that was never stopped (on one kind of device): the order of rows is
drawn from the seed and the epoch alone, and the checkpoint carries every other random state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from kaon.api.trainingrun import EPOCHS, LEARNING_RATE, CheckpointPolicy, Recipe
from kaon_jobs.context import Context
from kaon_jobs.data.splits import Rows
from kaon_jobs.errors import StageFailure, Terminated
from kaon_jobs.learn.callbacks import BestWeights, ProgressReport, SavesCheckpoints
from kaon_jobs.learn.checkpoints import Checkpoints
from kaon_jobs.measure.quality import scores
from kaon_jobs.processor import multiplies_bf16
from kaon_jobs.store.objectstore import Store

log = logging.getLogger(__name__)

LOGS = 60
"""Points of the loss curve, at most."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training left, beside the weights in the model."""

    log_history: list[dict[str, Any]]
    steps: int
    best_step: int | None
    resumed_from_step: int | None


class GroupedByLength(torch.utils.data.Sampler[int]):
    """Rows in an order drawn from seed and epoch, in batches of similar length, so that little is padding."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        draw = np.random.Generator(np.random.PCG64([self._seed, self.epoch]))
        order = draw.permutation(len(self._lengths))
        # Sorting within a window of batches groups lengths; shuffling the batches takes the order away again.
        window = self._batch_size * 32
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            part = sorted(order[start : start + window], key=lambda row: self._lengths[row])
            batches.extend(part[at : at + self._batch_size] for at in range(0, len(part), self._batch_size))
        # Only the last batch may be short, or the number of steps would not be what the trainer expects.
        short = [batch for batch in batches if len(batch) < self._batch_size]
        full = [batch for batch in batches if len(batch) == self._batch_size]
        for index in draw.permutation(len(full)):
            yield from (int(row) for row in full[index])
        for batch in short:
            yield from (int(row) for row in batch)


class Shuffled(torch.utils.data.Sampler[int]):
    """Rows in an order drawn from seed and epoch. No batch has a single row: batch normalization needs two."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self._rows = rows
        # The row that would be left is another one in each epoch.
        self._taken = rows - 1 if batch_size > 1 and rows > 1 and rows % batch_size == 1 else rows
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._taken

    def __iter__(self) -> Iterator[int]:
        draw = np.random.Generator(np.random.PCG64([self._seed, self.epoch]))
        yield from (int(row) for row in draw.permutation(self._rows)[: self._taken])


Order = GroupedByLength | Shuffled


class Examples(Protocol):
    """Rows as the trainer reads them: a mapping with `labels` and what the model is called with."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Material:
    """What a model learns from."""

    train: Examples
    validation: Examples
    collate: Any
    """Rows -> a batch of tensors."""
    order: Order
    """Of the training rows, by epoch."""
    targets: Any
    """Class of each training row."""
    classes: int


class _EpochOrder(TrainerCallback):
    def __init__(self, sampler: Order) -> None:
        self._sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._sampler.epoch = math.floor((state.epoch or 0) + 1e-6)


class _Trainer(Trainer):
    """The Trainer with our sampler."""

    def __init__(self, *args: Any, sampler: Order, **kwargs: Any) -> None:
        self._sampler = sampler
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return self._sampler


def fit(
    model: torch.nn.Module,
    material: Material,
    recipe: Recipe,
    policy: CheckpointPolicy,
    output: Store,
    address: str,
    context: Context,
    percents: tuple[float, float],
    stopping: str,
) -> Fitted:
    """Trains the model in place, from the newest checkpoint in the store if there is one.

    Args:
        output: the artifact's own folder.
        address: the artifact's, which every checkpoint is signed for.
        stopping: the metric that early stopping watches when the recipe names none.

    Raises:
        Terminated: SIGTERM came; a checkpoint of this very step is in the store.
        StageFailure: TrainingDiverged, OutOfMemory (of a GPU), ValidationSplitEmpty.
    """
    if recipe.early_stopping is not None and not len(material.validation):
        raise StageFailure(
            "ValidationSplitEmpty",
            "recipe.earlyStopping needs a validation split; set the Dataset's spec.split.validation",
        )
    directory = context.workdir / "training"
    directory.mkdir(parents=True)
    checkpoints = Checkpoints(output, address, context.attempt, policy.keep, context.reporter.checkpoint)
    rule = recipe.early_stopping
    best = BestWeights(rule.patience, rule.metric or stopping, directory) if rule is not None else None
    trainer = _Trainer(
        model=model,
        args=arguments(recipe, policy, directory, len(material.order), len(material.validation) > 0),
        train_dataset=material.train,
        eval_dataset=material.validation if len(material.validation) else None,
        data_collator=material.collate,
        compute_loss_func=Loss(recipe, material.targets, material.classes),
        compute_metrics=_metrics,
        callbacks=[
            _EpochOrder(material.order),
            ProgressReport(context.reporter, *percents),
            *([best] if best is not None else []),
            SavesCheckpoints(checkpoints, best, context.stop),
        ],
        sampler=material.order,
    )
    trainer.remove_callback(PrinterCallback)

    restored = directory / "restored"
    resumed = checkpoints.restore(restored)
    if resumed is not None:
        context.reporter.resumed(resumed)
        if best is not None:
            best.take_from(restored)
    with context.deferring_stop():
        try:
            if best is None or not best.exhausted:
                trainer.train(resume_from_checkpoint=str(restored) if resumed is not None else None)
        except torch.cuda.OutOfMemoryError as error:
            raise StageFailure(
                "OutOfMemory",
                "the GPU has too little memory for this recipe; lower recipe.batchSize and raise "
                "recipe.gradientAccumulationSteps, or set recipe.gradientCheckpointing",
            ) from error
        finally:
            checkpoints.wait()
    if context.stop.is_set():
        raise Terminated
    # Without the trainer's autocast: what is exported and evaluated computes in the weights' own float32.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if best is not None:
        best.restore(model)
    return Fitted(trainer.state.log_history, trainer.state.global_step, best.best_step if best else None, resumed)


def of_texts(
    tokenizer: PreTrainedTokenizerBase, train: Rows, validation: Rows, recipe: Recipe, classes: int
) -> Material:
    """Texts as an encoder learns from them, batches of similar length."""
    rows = encode(tokenizer, train, recipe.max_sequence_length)
    order = GroupedByLength([len(row["input_ids"]) for row in rows], recipe.batch_size, recipe.seed)
    held_out = encode(tokenizer, validation, recipe.max_sequence_length)
    return Material(rows, held_out, DataCollatorWithPadding(tokenizer), order, train.targets, classes)


def encode(tokenizer: PreTrainedTokenizerBase, rows: Rows, max_sequence_length: int) -> list[dict[str, Any]]:
    """Rows as the trainer reads them, cut but not padded. Segment ids are left to the model, as in the exported one."""
    if not len(rows):
        return []
    ids = tokenizer(rows.inputs, truncation=True, max_length=max_sequence_length, return_token_type_ids=False)
    # A text without tokens is read as one padding token, as a server does.
    nothing = [tokenizer.pad_token_id]
    return [
        {"input_ids": tokens or nothing, "attention_mask": [1] * max(1, len(tokens)), "labels": int(label)}
        for tokens, label in zip(ids["input_ids"], rows.targets, strict=True)
    ]


def arguments(
    recipe: Recipe, policy: CheckpointPolicy, directory: Path, rows: int, evaluates: bool
) -> TrainingArguments:
    """The recipe in the trainer's words."""
    gpu = torch.cuda.is_available()
    precision = precision_here(recipe.precision, gpu)
    # The operator settles what depends on the model; older ones, and tests, leave out what is usual.
    epochs, learning_rate = recipe.epochs or EPOCHS, recipe.learning_rate or LEARNING_RATE
    steps = math.ceil(rows / recipe.batch_size / recipe.gradient_accumulation_steps) * epochs
    return TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=max(recipe.batch_size, 64),
        learning_rate=learning_rate,
        lr_scheduler_type=recipe.scheduler,
        # A share below 1 is of all steps; the plain constant scheduler takes none.
        warmup_steps=0 if recipe.scheduler == "constant" else min(recipe.warmup_ratio, 0.999999),
        weight_decay=recipe.weight_decay,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        activation_checkpointing=recipe.gradient_checkpointing,
        max_grad_norm=recipe.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        seed=recipe.seed,
        eval_strategy="epoch" if evaluates else "no",
        save_strategy="epoch" if policy.every_steps is None else "steps",
        save_steps=policy.every_steps or 500,
        logging_strategy="steps",
        logging_steps=max(1, steps // LOGS),
        # A loss that is no number must be seen, not smoothed over.
        logging_nan_inf_filter=False,
        use_cpu=not gpu,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )


def precision_here(wanted: str, gpu: bool) -> str:
    """The precision to train in on this machine. On a CPU half precision is not chosen unless it is asked for: two
    kinds of CPU would train two different models from one spec."""
    if wanted == "auto":
        return "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    if gpu or wanted == "fp32" or (wanted == "bf16" and multiplies_bf16()):
        return wanted
    lacks = "this CPU has no instructions for it" if wanted == "bf16" else "it needs a GPU"
    log.warning("precision %s: %s; training in fp32", wanted, lacks)
    return "fp32"


class Loss:
    """Cross entropy with label smoothing and class weights. Balanced: each class counts alike, however rare it is."""

    def __init__(self, recipe: Recipe, label_ids: Any, classes: int) -> None:
        self._smoothing = recipe.label_smoothing
        self._weights: torch.Tensor | None = None
        if recipe.class_weights == "balanced":
            counts = np.bincount(label_ids, minlength=classes)
            # A class without training rows cannot be weighted; its weight is never used.
            weights = len(label_ids) / (np.count_nonzero(counts) * np.maximum(counts, 1))
            self._weights = torch.tensor(weights, dtype=torch.float32)

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        total = torch.nn.functional.cross_entropy(
            logits,
            labels,
            weight=None if self._weights is None else self._weights.to(logits.device),
            label_smoothing=self._smoothing,
            reduction="sum",
        )
        # Over accumulated batches the number of rows is that of all of them.
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def _metrics(prediction: Any) -> dict[str, float]:
    logits = torch.as_tensor(np.asarray(prediction.predictions), dtype=torch.float32)
    return scores(np.asarray(prediction.label_ids), torch.softmax(logits, dim=1).numpy())
