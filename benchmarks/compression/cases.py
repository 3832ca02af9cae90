"""The cases: which model, which data, what may be lost. Each says how it is made; texts.py and trained.py do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sources
from contract import Kind
from scores import Budget

BUDGET = Budget(accuracy_drop=0.01, macro_f1_drop=0.02)
SEED = 7


@dataclass(frozen=True, slots=True)
class TextCase:
    """A Hugging Face encoder, fine-tuned by Kaon's own train stage."""

    title: str
    csv: Callable[[Path], Mapping[str, Path]]
    recipe: Mapping[str, object]
    kind: Kind = field(default="text", init=False)


@dataclass(frozen=True, slots=True)
class NetCase:
    """A network of nets.py on arrays that fit into memory."""

    title: str
    kind: Kind
    data: Callable[[Path], tuple[sources.Floats, sources.Ids]]
    epochs: int
    learning_rate: float


_RECIPE = {"epochs": 3, "batchSize": 32, "learningRate": 0.00015, "seed": 42}
_RECIPE |= {"earlyStopping": {"metric": "macroF1", "patience": 1}}

CASES: dict[str, TextCase | NetCase] = {
    "r8": TextCase("MiniLM-L6 on Reuters R8, 48 tokens", sources.r8, {**_RECIPE, "maxSequenceLength": 48}),
    "newsgroups": TextCase(
        "MiniLM-L6 on 20 Newsgroups, 64 tokens", sources.newsgroups, {**_RECIPE, "maxSequenceLength": 64}
    ),
    "sentiment": TextCase(
        "MiniLM-L6 on film reviews, 64 tokens", sources.reviews, {**_RECIPE, "maxSequenceLength": 64}
    ),
    "mnist": NetCase("ResNet-18 on mnist_5k, 28x28", "image", sources.mnist, epochs=12, learning_rate=1e-3),
    "mobile": NetCase("MobileNetV2 on mnist_5k, 28x28", "image", sources.mnist, epochs=20, learning_rate=3e-3),
    "cancer": NetCase(
        "MLP 30-512-512-512-2 on breast_cancer", "table", lambda cache: sources.breast_cancer(), 60, learning_rate=1e-3
    ),
}
