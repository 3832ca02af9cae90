"""What happens beside the training loop: progress, checkpoints, early stopping with the best weights, SIGTERM.

Callbacks of transformers.Trainer; each does one of these. They decide from the trainer's state and touch its output
directory; reporting and uploading are others' work.
"""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_model
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kaon.tasks.registry import METRICS
from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.checkpoints import Checkpoints
from kaon_jobs.report.reporter import Reporter

BEST_FILE = "best.safetensors"
STATE_FILE = "kaon-state.json"
_SHOWN = {
    "loss": "loss",
    "learning_rate": "learningRate",
    "eval_loss": "validationLoss",
    **{f"eval_{name}": f"validation{name[:1].upper()}{name[1:]}" for name in METRICS},
}


class ProgressReport(TrainerCallback):
    """Tells percent, step, time left and figures; stops a training whose loss is no number."""

    def __init__(self, reporter: Reporter, first_percent: float, last_percent: float) -> None:
        self._reporter = reporter
        self._from, self._span = first_percent, last_percent - first_percent
        self._metrics: dict[str, float] = {}
        self._started: tuple[float, int] | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after each optimizer step."""
        if self._started is None:
            # The first step warms up caches and allocators: it is no measure of the others.
            self._started = (time.monotonic(), state.global_step)
        since, first = self._started
        steps = state.global_step - first
        left = (time.monotonic() - since) / steps * (state.max_steps - state.global_step) if steps else None
        self._reporter.progress(
            "training",
            self._from + self._span * state.global_step / max(state.max_steps, 1),
            step=state.global_step,
            total_steps=state.max_steps,
            eta_seconds=left,
            metrics={**self._metrics, "epoch": round(state.epoch or 0, 2)},
        )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Called with new figures."""
        for name, value in (logs or {}).items():
            if name == "loss" and not math.isfinite(value):
                raise StageFailure(
                    "TrainingDiverged",
                    f"the loss is {value} at step {state.global_step}; "
                    "lower recipe.learningRate, or set recipe.precision to fp32",
                )
            if name in _SHOWN:
                self._metrics[_SHOWN[name]] = float(value)


class BestWeights(TrainerCallback):
    """Keeps the weights of the best evaluation, and stops when it has not been beaten for `patience` evaluations."""

    def __init__(self, patience: int, metric: str, directory: Path) -> None:
        self._patience = patience
        self._metric = metric
        self._file = directory / BEST_FILE
        self.best: float | None = None
        self.best_step = 0
        self.waited = 0

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.waited >= self._patience

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after each evaluation of the validation split."""
        value = float(kwargs["metrics"][f"eval_{self._metric}"])
        lower = self._metric == "loss" or METRICS[self._metric].better == "lower"
        better = self.best is None or (value < self.best if lower else value > self.best)
        if better:
            self.best, self.best_step, self.waited = value, state.global_step, 0
            save_model(kwargs["model"], str(self._file))
        else:
            self.waited += 1
        if self.exhausted:
            control.should_training_stop = True

    def put_into(self, checkpoint: Path) -> None:
        """Makes a checkpoint remember the best weights so far."""
        state = {"best": self.best, "bestStep": self.best_step, "waited": self.waited}
        (checkpoint / STATE_FILE).write_text(json.dumps(state))
        if self._file.exists():
            (checkpoint / BEST_FILE).write_bytes(self._file.read_bytes())

    def take_from(self, checkpoint: Path) -> None:
        """Remembers what a checkpoint does."""
        state = json.loads((checkpoint / STATE_FILE).read_text())
        self.best, self.best_step, self.waited = state["best"], state["bestStep"], state["waited"]
        if (checkpoint / BEST_FILE).exists():
            self._file.write_bytes((checkpoint / BEST_FILE).read_bytes())

    def restore(self, model: torch.nn.Module) -> None:
        """Puts the best weights back into the model."""
        if self._file.exists():
            weights: dict[str, torch.Tensor] = load_file(str(self._file))
            # Tied weights are saved once, hence not strict; save_model wrote this very architecture.
            model.load_state_dict(weights, strict=False)


class SavesCheckpoints(TrainerCallback):
    """Uploads what the trainer saves; at SIGTERM has it save, and ends the loop. Must come after BestWeights."""

    def __init__(self, checkpoints: Checkpoints, best: BestWeights | None, stop: threading.Event) -> None:
        self._checkpoints = checkpoints
        self._best = best
        self._stop = stop

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after each optimizer step."""
        if self._stop.is_set():
            control.should_save = True
            control.should_training_stop = True
            control.should_evaluate = False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called after each epoch, and when the loop is left early."""
        if self._stop.is_set():
            # The grace period is for what has been saved already, not for another evaluation.
            control.should_save = control.should_evaluate = control.should_log = False

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called when the trainer has written a checkpoint directory."""
        directory = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if self._best is not None:
            self._best.put_into(directory)
        self._checkpoints.save(state.global_step, directory)
