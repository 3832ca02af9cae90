"""Two towers: a vector of each item, and one of what a user has taken; their product is the score.

A user's vector is a mean of the vectors of the items, weighted by attention (what an item says, and how recent it is),
and a small net on it. An item's vector is learnt, and the words of its text add theirs (TF-IDF, projected). Learnt by
a softmax over the items of the batch, whose logits are corrected by how often an item is drawn (Yi et al.,
"Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import nn
from torch.nn import functional

from kaon_jobs.data.words import are_unspaced
from kaon_jobs.learn.recommend.graph import HISTORY, RankingGraph
from kaon_jobs.learn.recommend.linear import Trained
from kaon_jobs.learn.recommend.material import Floats, Ids, Material, Progress, ndcg
from kaon_jobs.runtime.history import padded

log = logging.getLogger(__name__)

WIDTH = 64
TEXT_WIDTH = 64
"""Numbers that a text becomes: the largest singular directions of its words' weights."""
MAX_WORDS = 50_000
LENGTH = 50
"""Items of a history in training; with more, little is won for much time."""
BATCH = 512
EPOCHS = 40
MOST_STEPS = 6000
"""Of large data there are fewer epochs."""
PATIENCE = 5
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
DROPOUT = 0.2
TEMPERATURE = 0.1
_FAR = -1e4


class Towers(nn.Module):
    """Scores of all items for histories, padded in front with the number behind all items."""

    def __init__(self, items: int, texts: Floats | None, length: int) -> None:
        super().__init__()
        self.items, self.length = items, length
        self.taken = nn.Embedding(items + 1, WIDTH, padding_idx=items)
        self.offered = nn.Embedding(items, WIDTH)
        for table in (self.taken, self.offered):
            nn.init.normal_(table.weight, std=WIDTH**-0.5)
        self.notice = nn.Linear(WIDTH, 1)
        self.recency = nn.Parameter(torch.zeros(length))
        self.net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.bias = nn.Parameter(torch.zeros(items))
        self.texts: torch.Tensor | None
        if texts is None:
            self.register_buffer("texts", None)
        else:
            self.register_buffer("texts", torch.as_tensor(texts))
            self.of_texts = nn.Linear(texts.shape[1], WIDTH, bias=False)
        with torch.no_grad():
            self.taken.weight[items] = 0

    def item_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of items as a user takes them [items + 1, width], the last one 0, and as they are offered."""
        taken, offered = self.taken.weight, self.offered.weight
        if self.texts is not None:
            told = self.of_texts(self.texts)
            taken = torch.cat([taken[:-1] + told, taken[-1:]])
            offered = offered + told
        return taken, functional.normalize(offered, dim=1)

    def users(self, histories: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
        """[batch, width], of length 1; histories are [batch, length]."""
        vectors = functional.embedding(histories, taken)
        recency = self.recency[-histories.shape[1] :]
        notice = self.notice(vectors).squeeze(2) + recency
        notice = notice.masked_fill(histories == self.items, _FAR)
        weights = torch.softmax(notice, dim=1)
        weights = functional.dropout(weights, DROPOUT, self.training)
        mean = (weights[:, :, None] * vectors).sum(dim=1)
        return functional.normalize(mean + self.net(mean), dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class TowerModel:
    """Two towers with their vectors computed."""

    module: Towers
    popularity: Floats
    length: int

    def scores(self, histories: Sequence[Ids]) -> Floats:
        """See Ranker."""
        with torch.inference_mode():
            taken, offered = self.module.item_tables()
            given = torch.as_tensor(padded(histories, self.module.items, self.length))
            found = self.module.users(given, taken) @ offered.T / TEMPERATURE + self.module.bias
        scores = np.asarray(found.numpy(), np.float32)
        scores[[row for row, history in enumerate(histories) if not len(history)]] = self.popularity
        return scores

    def graph(self) -> onnx.ModelProto:
        """See Ranker."""
        module, graph = self.module, RankingGraph(self.popularity)
        with torch.inference_mode():
            taken, offered = (table.numpy() for table in module.item_tables())
            offered = offered / TEMPERATURE
            noticed = (module.notice(torch.as_tensor(taken)) + 0.0).numpy()
        noticed[-1] = _FAR
        vectors = graph.add("Gather", taken, HISTORY, axis=0)
        length = graph.add("Slice", graph.add("Shape", HISTORY), graph.ints(1), graph.ints(2))
        newest = graph.add("Slice", module.recency.detach().numpy(), graph.add("Neg", length), graph.ints(2**31))
        notice = graph.add("Squeeze", graph.add("Gather", noticed, HISTORY, axis=0), graph.ints(2))
        weights = graph.add("Softmax", graph.add("Add", notice, newest), axis=1)
        row = graph.add("Unsqueeze", weights, graph.ints(1))
        mean = graph.add("Squeeze", graph.add("MatMul", row, vectors), graph.ints(1))
        first, _, second = module.net
        hidden = graph.add("Relu", graph.add("Add", graph.add("MatMul", mean, _weight(first)), _bias(first)))
        moved = graph.add("Add", graph.add("MatMul", hidden, _weight(second)), _bias(second))
        user = graph.add("LpNormalization", graph.add("Add", mean, moved), axis=1, p=2)
        products = graph.add("MatMul", user, np.ascontiguousarray(offered.T))
        return graph.with_popular(graph.add("Add", products, module.bias.detach().numpy()))


def fit_towers(material: Material, progress: Progress) -> Trained:
    """Stops when nDCG@10 on the questions has not improved for some epochs; the best epoch's weights are kept."""
    torch.manual_seed(material.seed)
    torch.set_num_threads(material.threads)
    random = np.random.default_rng(material.seed)
    module = Towers(material.items, _texts(material), material.length)
    histories, targets = _lessons(material)
    frequency = np.bincount(targets, minlength=material.items) / max(1, len(targets))
    correction = torch.as_tensor(np.log(np.maximum(frequency, 1e-12)), dtype=torch.float32)
    steps = max(1, -(-len(targets) // BATCH))
    epochs = max(1, min(EPOCHS, MOST_STEPS // steps))
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1)
    best, best_epoch, kept = -1.0, 0, copy.deepcopy(module.state_dict())
    for epoch in range(1, epochs + 1):
        module.train()
        order = random.permutation(len(targets))
        for number, start in enumerate(range(0, len(order), BATCH)):
            rows = order[start : start + BATCH]
            loss = _loss(module, histories[rows], torch.as_tensor(targets[rows]), correction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if number % 20 == 0:
                progress((epoch - 1 + number / steps) / epochs)
        module.eval()
        found = ndcg(material.questions, TowerModel(module, material.popularity, material.length))
        log.info("two towers, epoch %d of %d: nDCG@10 %.4f", epoch, epochs, found)
        if found > best:
            best, best_epoch, kept = found, epoch, copy.deepcopy(module.state_dict())
        elif epoch - best_epoch >= PATIENCE:
            break
    module.load_state_dict(kept)
    module.eval()
    told = "with" if module.texts is not None else "without"
    about = f"vectors of {WIDTH} numbers, {told} the items' texts, best after {best_epoch} of {epochs} epochs"
    return Trained(TowerModel(module, material.popularity, material.length), about)


def _loss(module: Towers, histories: Ids, targets: torch.Tensor, correction: torch.Tensor) -> torch.Tensor:
    """Cross entropy over the items of the batch, each of which counts once."""
    offers, place = torch.unique(targets, return_inverse=True)
    taken, offered = module.item_tables()
    users = module.users(torch.as_tensor(histories), taken)
    logits = users @ offered[offers].T / TEMPERATURE + module.bias[offers] - correction[offers]
    # What a user has taken before is no wrong answer. Items that are not offered share a column behind the others.
    column = torch.full((module.items + 1,), len(offers))
    column[offers] = torch.arange(len(offers))
    seen = torch.zeros(len(place), len(offers) + 1, dtype=torch.bool)
    seen.scatter_(1, column[torch.as_tensor(histories)], value=True)
    seen[torch.arange(len(place)), place] = False
    return functional.cross_entropy(logits.masked_fill(seen[:, :-1], _FAR), place)


def _lessons(material: Material) -> tuple[Ids, Ids]:
    """Each item behind the first of each history with the ones before it [lessons, length], padded in front."""
    length = min(LENGTH, material.length)
    rows, targets = [], []
    for history in material.histories:
        for place in range(1, len(history)):
            rows.append(history[max(0, place - length) : place])
            targets.append(history[place])
    if not rows:
        return np.full((1, 1), material.items, np.int64), np.zeros(1, np.int64)
    return padded(rows, material.items, length), np.asarray(targets, np.int64)


def _texts(material: Material) -> Floats | None:
    """A row of numbers for each item's text, of length 1; None where no item has one."""
    texts = [text or "" for text in material.texts]
    if not any(texts):
        return None
    kind = {"analyzer": "char", "ngram_range": (1, 3)} if are_unspaced(texts) else {"ngram_range": (1, 1)}
    vectorizer = TfidfVectorizer(
        **kind, sublinear_tf=True, max_features=MAX_WORDS, dtype=np.float32, token_pattern=r"(?u)\b\w+\b"
    )
    try:
        words = vectorizer.fit_transform(texts)
    except ValueError:
        return None  # no text has a word
    width = min(TEXT_WIDTH, min(words.shape) - 1)
    if width < 1:
        return None
    found = TruncatedSVD(width, random_state=material.seed).fit_transform(words)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(lengths, 1e-6), np.float32)


def _weight(layer: nn.Module) -> Floats:
    assert isinstance(layer, nn.Linear)
    return np.ascontiguousarray(layer.weight.detach().numpy().T)


def _bias(layer: nn.Module) -> Floats:
    assert isinstance(layer, nn.Linear)
    return np.asarray(layer.bias.detach().numpy())
