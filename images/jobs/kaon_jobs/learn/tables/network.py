"""A small neural net of a table: a mean of several, trained side by side, and the same as an ONNX graph.

Its recipe is the simple form of RealMLP (Holzmüller et al. 2024, arXiv 2407.04491): numbers scaled by quartiles and
bent, a learnt scale of each, three hidden layers whose weights are scaled as in the neural tangent kernel, AdamW at
rates that go up and down four times, dropout, and the weights of the epoch that is best on held rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional

from kaon_jobs.learn.tables.graph import Graph
from kaon_jobs.learn.tables.linear import fit_linear
from kaon_jobs.learn.tables.material import Doubles, Floats, Ids, Material, Part, Progress, TableModel, Trained
from kaon_jobs.learn.tables.preparation import Preparation

HIDDEN_LAYERS = 3
HIDDEN = 128
"""Units of a hidden layer."""
MEMBERS = 2
"""Nets whose mean is the model, where there are no folds."""
EPOCHS = 128
STEPS = 6000
"""At most, in all epochs together, and at least one epoch."""
DROPOUT = 0.1
WEIGHT_DECAY = 0.02
SCALE_RATE, BIAS_RATE = 6.0, 0.1
"""Learning rates of the scales and the biases, beside that of the weights."""
HELD_ROWS = 20_000
"""That an epoch is judged on at most."""
AT_ONCE = 50_000_000
"""Prepared numbers that are held in memory; of more, each batch is prepared anew."""
ASKED_ROWS = 4096
"""Whose scores are computed at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Nets:
    """The mean of the scores of some nets of one shape."""

    preparation: Preparation
    layers: Sequence[tuple[Floats, Floats]]
    """Weights [nets, in, out] and bias [nets, 1, out] of each layer."""
    low: float
    high: float
    """The mean's ends: numbers are not predicted beyond those of the training rows; infinite for classes."""

    @property
    def classes(self) -> bool:
        return math.isinf(self.high)

    def some(self, number: int) -> Nets:
        """One net alone."""
        alone = [(weights[number : number + 1], bias[number : number + 1]) for weights, bias in self.layers]
        return Nets(self.preparation, alone, self.low, self.high)

    def scores(self, rows: Floats) -> Doubles:
        """See TableModel."""
        found = []
        with torch.no_grad():
            layers = [(torch.from_numpy(weights), torch.from_numpy(bias)) for weights, bias in self.layers]
            for start in range(0, len(rows), ASKED_ROWS):
                values = torch.from_numpy(self.preparation.apply(rows[start : start + ASKED_ROWS]))[None]
                for weights, bias in layers[:-1]:
                    values = _activation(values @ weights + bias, self.classes)
                values = values @ layers[-1][0] + layers[-1][1]
                found.append(values.mean(dim=0).clamp(self.low, self.high).double().numpy())
        return np.concatenate(found)

    def add_to(self, graph: Graph, rows: str) -> str:
        """See TableModel."""
        values = self.preparation.add_to(graph, rows)
        for number, (weights, bias) in enumerate(self.layers):
            values = graph.add("Add", graph.add("MatMul", values, weights), bias)
            if number == len(self.layers) - 1:
                break
            if self.classes:
                values = graph.add("Selu", values)
            else:
                values = graph.add("Mul", values, graph.add("Tanh", graph.add("Softplus", values)))
        mean = graph.add("ReduceMean", values, axes=[0], keepdims=0)
        return mean if self.classes else graph.add("Clip", mean, self.low, self.high)


def _activation(values: torch.Tensor, classes: bool) -> torch.Tensor:
    return functional.selu(values) if classes else functional.mish(values)


def fit_network(material: Material, progress: Progress) -> Trained:
    """Trains a net for each part, or some for the only one, together; all stop at the same epoch."""
    if material.classes == 1:
        return fit_linear(material, progress)
    torch.set_num_threads(material.threads)
    learnt = material.numbers[: material.training]
    preparation = Preparation.of(learnt, material.layout, "robust")
    parts = list(material.parts) if len(material.parts) > 1 else list(material.parts) * MEMBERS
    layers, epoch, epochs = _train(material, preparation, parts, progress)
    low, high, own = -math.inf, math.inf, material.targets[: material.training]
    if not material.classes:
        low, high = float(own.min()), float(own.max())
    model = Nets(preparation, layers, low, high)
    alone: list[TableModel] = [model.some(number) for number in range(len(parts))]
    about = f"the mean of {len(parts)} nets, {HIDDEN_LAYERS} layers of {HIDDEN} units, epoch {epoch} of {epochs}"
    return Trained(model, alone if len(material.parts) > 1 else [model], about)


def _train(
    material: Material, preparation: Preparation, parts: Sequence[Part], progress: Progress
) -> tuple[list[tuple[Floats, Floats]], int, int]:
    """Weights of the nets at the epoch of the least mean loss on their held rows; that epoch, and all."""
    random = np.random.default_rng(material.seed)
    torch.manual_seed(material.seed)
    nets, rows = len(parts), min(len(part.learnt) for part in parts)
    batch = min(1024, max(16, 2 ** round(math.log2(max(1, rows / 16)))))
    steps = max(1, rows // batch)
    epochs = max(1, min(EPOCHS, STEPS // steps))
    classes, rate = bool(material.classes), 0.04 if material.classes else 0.07
    scale, weights, biases = _fresh(nets, [preparation.width, *[HIDDEN] * HIDDEN_LAYERS, material.outputs])
    groups = [
        {"params": [scale], "factor": SCALE_RATE, "weight_decay": 0.0},
        {"params": weights, "factor": 1.0, "weight_decay": WEIGHT_DECAY},
        {"params": biases, "factor": BIAS_RATE, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    held = [part.held if len(part.held) <= HELD_ROWS else random.permutation(part.held)[:HELD_ROWS] for part in parts]
    asked = [torch.from_numpy(preparation.apply(material.numbers[some])) for some in held]
    ready = preparation.apply(material.numbers) if len(material.numbers) * preparation.width <= AT_ONCE else None
    best, best_epoch, kept = math.inf, 0, [scale.detach().clone()]
    for epoch in range(1, epochs + 1):
        orders = [random.permutation(part.learnt) for part in parts]
        for step in range(steps):
            done = (epoch - 1 + step / steps) / epochs
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"] * _pace(done)
            chosen = np.stack(
                [np.take(order, range(step * batch, (step + 1) * batch), mode="wrap") for order in orders]
            )
            drawn = preparation.apply(material.numbers[chosen.reshape(-1)]) if ready is None else ready[chosen]
            given = torch.from_numpy(drawn.reshape(nets, batch, -1))
            scores = _scores(given, scale, weights, biases, classes, DROPOUT)
            optimizer.zero_grad(set_to_none=True)
            _losses(material, chosen, scores).mul(torch.from_numpy(material.weights[chosen]).float()).mean(
                dim=1
            ).sum().backward()
            optimizer.step()
        with torch.no_grad():
            total = 0.0
            for number, (some, given) in enumerate(zip(held, asked, strict=True)):
                own = slice(number, number + 1)
                layers = [layer[own] for layer in weights], [layer[own] for layer in biases]
                scores = _scores(given[None], scale[own], *layers, classes, 0.0)
                total += float(_losses(material, some[None], scores).sum())
        if total < best:
            best, best_epoch = total, epoch
            kept = [tensor.detach().clone() for tensor in (scale, *weights, *biases)]
        progress(epoch / epochs)
    half = 1 + len(weights)
    return _folded(kept[0], kept[1:half], kept[half:]), best_epoch, epochs


def _fresh(nets: int, sizes: Sequence[int]) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    scale = torch.ones(nets, 1, sizes[0], requires_grad=True)
    pairs = list(pairwise(sizes))
    weights = [torch.randn(nets, given, made) for given, made in pairs]
    weights[-1].zero_()  # so that it begins with what is likeliest without any column
    biases = [torch.randn(nets, 1, made) for _, made in pairs]
    biases[-1].zero_()
    return scale, [one.requires_grad_() for one in weights], [one.requires_grad_() for one in biases]


def _scores(
    given: torch.Tensor,
    scale: torch.Tensor,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    classes: bool,
    dropout: float,
) -> torch.Tensor:
    """[nets, rows, outputs] of prepared numbers [nets, rows, width]."""
    values = given * scale
    for number, (layer, bias) in enumerate(zip(weights, biases, strict=True)):
        values = values @ layer / math.sqrt(layer.shape[1]) + bias
        if number < len(weights) - 1:
            values = _activation(values, classes)
            values = functional.dropout(values, dropout) if dropout else values
    return values


def _losses(material: Material, rows: Ids, scores: torch.Tensor) -> torch.Tensor:
    """[nets, rows]"""
    targets = torch.from_numpy(material.targets[rows])
    if material.classes:
        return functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").view(rows.shape)
    return (scores[..., 0] - targets.float()) ** 2


def _pace(done: float) -> float:
    """Of the learning rate, at a share of the training: four cosines, each twice as long as the one before."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * math.log2(1 + 15 * done))


def _folded(
    scale: torch.Tensor, weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor]
) -> list[tuple[Floats, Floats]]:
    """Each layer's factor, and the first one's scales, multiplied into its weights."""
    scaled = [layer / math.sqrt(layer.shape[1]) for layer in weights]
    scaled[0] = scaled[0] * scale.transpose(1, 2)
    return [(layer.numpy(), bias.numpy()) for layer, bias in zip(scaled, biases, strict=True)]
