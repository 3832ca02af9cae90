"""Convolutional and plain networks: channels go, and what is left learns again. On the exported graph.

Which channels: those whose removal changes the loss least, by its first-order estimate (weight x gradient)^2 summed
over training rows (Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from kaon.api.compressionjob import Distill, Finetune, Prune
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.channels import Group, groups, without
from kaon_jobs.compress.families.network import Network, batched
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.training.teaching import (
    FINETUNE_EPOCHS,
    Batch,
    Plan,
    View,
    labels_loss,
    logits_loss,
    numbers_loss,
    teach,
    views_to_learn,
)
from kaon_jobs.errors import TechniqueFailed
from kaon_jobs.predict.onnx_model import read_card

DISTILL_EPOCHS = 20
LEARNING_RATE = 1e-3
FINETUNE_RATE = 2e-4
SCORED_ROWS = 512
SCORED_BATCH = 32


class ChannelPruning:
    """Narrower layers, all by the same share."""

    def __init__(self, parameters: Prune) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        model, ratio = graph.unshared(graph.load(source)), self._parameters.ratio or 0.0
        found = groups(model)
        if not found:
            raise TechniqueFailed(
                "this graph has no channels that could go: no convolution or matrix feeds another one"
            )
        if all(group.width(ratio) == group.count for group in found):
            raise TechniqueFailed(f"a ratio of {ratio:g} leaves every layer as wide as it is")
        scores = _scores(Network(model), found, data)
        chosen = [(group, _best(score, group.width(ratio))) for group, score in zip(found, scores, strict=True)]
        graph.save(without(model, chosen), target)
        if self._parameters.finetune_epochs is not None:
            NetworkFinetuning(Finetune(epochs=self._parameters.finetune_epochs)).apply(target, target, data)


class NetworkDistillation:
    """Trains the network as it is on the original model's answers (Hinton et al. 2015)."""

    def __init__(self, parameters: Distill) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        wanted = self._parameters
        for field in ("keepLayers", "student", "hiddenLoss", "attentionLoss", "quantizationAware"):
            if wanted.wire().get(field):
                raise TechniqueFailed(f"distill.{field} is for text encoders, and this is a network; leave it out")
        plan = Plan.of(wanted, epochs=DISTILL_EPOCHS, learning_rate=LEARNING_RATE, seed=data.seed)
        network = Network(graph.load(source))
        of_classes = bool(read_card(source).labels)
        if not of_classes and wanted.temperature is not None:
            raise TechniqueFailed("distill.temperature softens probabilities, and this predicts a number; leave it out")
        teach(
            _Pupil(network),
            views_to_learn(wanted, plan, lambda number: data.numbers(data.view(number)), data.answers),
            data.rows.targets,
            plan,
            logits_loss(wanted) if of_classes else numbers_loss(wanted),
            threads=data.threads,
            progress=lambda share: data.progress("distilling", share),
        )
        graph.save(network.graph(), target)


class NetworkFinetuning:
    """Trains on the labels."""

    def __init__(self, parameters: Finetune) -> None:
        self._parameters = parameters

    def apply(self, source: Path, target: Path, data: Lessons) -> None:
        """See Technique."""
        if self._parameters.quantization_aware:
            raise TechniqueFailed(
                "finetune.quantizationAware is for text encoders, and this is a network; leave it out"
            )
        network = Network(graph.load(source))
        teach(
            _Pupil(network),
            [View(data.numbers(data.view(0)))],
            data.rows.targets,
            Plan.of(self._parameters, epochs=FINETUNE_EPOCHS, learning_rate=FINETUNE_RATE, seed=data.seed),
            labels_loss,
            threads=data.threads,
            progress=lambda share: data.progress("fine-tuning", share),
        )
        graph.save(network.graph(), target)


class _Pupil:
    """A network that learns. In float32: its products are too small to win by fewer bits."""

    brief = False

    def __init__(self, network: Network) -> None:
        self.module: torch.nn.Module = network
        self._network = network

    def lengths(self, view: View) -> None:
        """All rows are of one shape."""

    def inputs(self, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
        """The rows' arrays."""
        return {"values": batched(rows)}

    def answer(self, inputs: dict[str, torch.Tensor]) -> Any:
        """The scores."""
        return SimpleNamespace(logits=self._network(inputs["values"]))


def _scores(network: Network, found: Sequence[Group], data: Lessons) -> list[torch.Tensor]:
    """For each group and each of its channels: how much the loss would change without it."""
    torch.manual_seed(data.seed)
    torch.set_num_threads(data.threads)
    weights = network.weights()
    scores = [torch.zeros(group.count) for group in found]
    rows = data.drawn_rows(SCORED_ROWS)
    values = data.numbers(rows.inputs)
    for start in range(0, len(rows), SCORED_BATCH):
        inputs = {"values": batched(values[start : start + SCORED_BATCH])}
        batch = Batch(inputs, torch.as_tensor(rows.targets[start : start + SCORED_BATCH]), None)
        network.zero_grad()
        labels_loss(SimpleNamespace(logits=network(inputs["values"])), batch).backward()
        for group, score in zip(found, scores, strict=True):
            change = torch.zeros(group.count)
            for part in group.parts:
                weight = weights.get(part.tensor)
                if part.makes and weight is not None and weight.grad is not None:
                    by_place = (weight.detach() * weight.grad).movedim(part.axis, 0)
                    change += by_place.reshape(group.count, -1).sum(dim=1)
            score += change**2
    return scores


def _best(score: torch.Tensor, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(torch.topk(score, count).indices.sort().values.numpy(), dtype=np.int64)
