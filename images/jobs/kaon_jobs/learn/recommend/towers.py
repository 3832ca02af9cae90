"""Two towers: a vector of each item, and one of what a user has taken; their product is the score.

A user's vector is a mean of the vectors of the items, weighted by attention (what an item says, and how recent it is),
and a small net on it. An item's vector is learnt, and the words of its text add theirs (TF-IDF, projected). Learnt by
a softmax over the items of the batch, whose logits are corrected by how likely an item is among them (Yi et al.,
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
from numpy.typing import NDArray
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
"""Items of a history that count, the newest; with more, little is won for much time."""
BATCH = 512
EPOCHS = 40
MOST_EPOCH_STEPS = 400
"""Of large data an epoch is a part, drawn anew."""
MOST_STEPS = 8000
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
            # A row of zeros for the pad.
            self.register_buffer("texts", torch.as_tensor(np.vstack([texts, np.zeros_like(texts[:1])])))
            self.of_texts = nn.Linear(texts.shape[1], WIDTH, bias=False)
        with torch.no_grad():
            self.taken.weight[items] = 0

    def vectors(self, taken: torch.Tensor, offered: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of some items as a user takes them, and of some as they are offered, of length 1.

        Args:
            taken: numbers of items; that of the pad has a vector of zeros.
            offered: numbers of items.
        """
        as_taken, as_offered = self.taken(taken), self.offered(offered)
        if self.texts is not None:
            as_taken = as_taken + self.of_texts(self.texts[taken])
            as_offered = as_offered + self.of_texts(self.texts[offered])
        return as_taken, functional.normalize(as_offered, dim=1)

    def everything(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of all items: [items + 1, width], the last one of zeros, and [items, width]."""
        return self.vectors(torch.arange(self.items + 1), torch.arange(self.items))

    def users(self, histories: torch.Tensor, taken: torch.Tensor, pad: int) -> torch.Tensor:
        """[batch, width], of length 1.

        Args:
            histories: [batch, length], rows of `taken`, filled up with the row `pad`.
        """
        vectors = functional.embedding(histories, taken)
        recency = self.recency[-histories.shape[1] :]
        notice = self.notice(vectors).squeeze(2) + recency
        notice = notice.masked_fill(histories == pad, _FAR)
        weights = torch.softmax(notice, dim=1)
        weights = functional.dropout(weights, DROPOUT, self.training)
        mean = (weights[:, :, None] * vectors).sum(dim=1)
        return functional.normalize(mean + self.net(mean), dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class TowerModel:
    """Two towers with their vectors computed."""

    module: Towers
    popularity: Floats

    def scores(self, histories: Sequence[Ids]) -> Floats:
        """See Ranker."""
        with torch.inference_mode():
            taken, offered = self.module.everything()
            given = torch.as_tensor(padded(histories, self.module.items, self.module.length))
            users = self.module.users(given, taken, self.module.items)
            found = users @ offered.T / TEMPERATURE + self.module.bias
        scores = np.asarray(found.numpy(), np.float32)
        scores[[row for row, history in enumerate(histories) if not len(history)]] = self.popularity
        return scores

    def graph(self) -> onnx.ModelProto:
        """See Ranker."""
        module, graph = self.module, RankingGraph(self.popularity)
        with torch.inference_mode():
            taken, offered = (table.numpy() for table in module.everything())
            offered = offered / TEMPERATURE
            noticed = (module.notice(torch.as_tensor(taken)) + 0.0).numpy()
        noticed[-1] = _FAR
        read = graph.add("Slice", HISTORY, graph.ints(-module.length), graph.ints(2**31), graph.ints(1))
        vectors = graph.add("Gather", taken, read, axis=0)
        length = graph.add("Slice", graph.add("Shape", read), graph.ints(1), graph.ints(2))
        newest = graph.add("Slice", module.recency.detach().numpy(), graph.add("Neg", length), graph.ints(2**31))
        notice = graph.add("Squeeze", graph.add("Gather", noticed, read, axis=0), graph.ints(2))
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
    module = Towers(material.items, _texts(material), min(LENGTH, material.length))
    lessons = Lessons.of(material)
    # How likely an item is the answer of at least one lesson of a batch, in which it counts once.
    drawn = -np.expm1(min(BATCH, len(lessons)) * np.log1p(-np.minimum(lessons.frequency, 1 - 1e-9)))
    correction = torch.as_tensor(np.log(np.maximum(drawn, 1e-12)), dtype=torch.float32)
    steps = max(1, min(-(-len(lessons) // BATCH), MOST_EPOCH_STEPS))
    epochs = max(1, min(EPOCHS, MOST_STEPS // steps))
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1)
    best, best_epoch, kept = -1.0, 0, copy.deepcopy(module.state_dict())
    for epoch in range(1, epochs + 1):
        module.train()
        order = random.permutation(len(lessons))[: steps * BATCH]
        for number, start in enumerate(range(0, len(order), BATCH)):
            loss = _loss(module, *lessons.batch(order[start : start + BATCH]), correction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if number % 20 == 0:
                progress((epoch - 1 + number / steps) / epochs)
        module.eval()
        found = ndcg(material.questions, TowerModel(module, material.popularity))
        log.info("two towers, epoch %d of %d: nDCG@10 %.4f", epoch, epochs, found)
        if found > best:
            best, best_epoch, kept = found, epoch, copy.deepcopy(module.state_dict())
        elif epoch - best_epoch >= PATIENCE:
            break
    module.load_state_dict(kept)
    module.eval()
    told = "with" if module.texts is not None else "without"
    about = f"vectors of {WIDTH} numbers, {told} the items' texts, best after {best_epoch} of {epochs} epochs"
    return Trained(TowerModel(module, material.popularity), about)


def _loss(module: Towers, histories: Ids, targets: Ids, correction: torch.Tensor) -> torch.Tensor:
    """Cross entropy over the items of the batch, each of which counts once."""
    offers, place = torch.unique(torch.as_tensor(targets), return_inverse=True)
    # The pad is the largest number.
    known, rows = torch.unique(torch.as_tensor(histories), return_inverse=True)
    pad = len(known) - 1 if int(known[-1]) == module.items else len(known)
    taken, offered = module.vectors(known, offers)
    users = module.users(rows, taken, pad)
    logits = users @ offered.T / TEMPERATURE + module.bias[offers] - correction[offers]
    # What a user has taken before is no wrong answer. Items that are not offered share a column behind the others.
    column = torch.full((module.items + 1,), len(offers))
    column[offers] = torch.arange(len(offers))
    seen = torch.zeros(len(place), len(offers) + 1, dtype=torch.bool)
    seen.scatter_(1, column[known][rows], value=True)
    seen[torch.arange(len(place)), place] = False
    return functional.cross_entropy(logits.masked_fill(seen[:, :-1], _FAR), place)


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Each item behind the first of each history, with the ones before it. Histories are cut out batch by batch."""

    histories: Sequence[Ids]
    row: Ids
    """[lessons], of the histories."""
    place: Ids
    """[lessons], in the history."""
    frequency: NDArray[np.float64]
    """[items], the share of the lessons whose answer it is."""
    pad: int
    length: int

    @classmethod
    def of(cls, material: Material) -> Lessons:
        """All there are. Where no history has two items, one of nothing."""
        histories = [history for history in material.histories if len(history) > 1]
        histories = histories or [np.zeros(2, np.int64)]
        counts = np.asarray([len(history) - 1 for history in histories], np.int64)
        answers = np.concatenate([history[1:] for history in histories])
        return cls(
            histories=histories,
            row=np.repeat(np.arange(len(histories)), counts),
            place=np.concatenate([np.arange(1, count + 1) for count in counts]),
            frequency=np.bincount(answers, minlength=material.items) / len(answers),
            pad=material.items,
            length=min(LENGTH, material.length),
        )

    def __len__(self) -> int:
        return len(self.row)

    def batch(self, chosen: Ids) -> tuple[Ids, Ids]:
        """Histories [batch, longest of them], padded in front, and the items that follow [batch]."""
        places = list(zip(self.row[chosen].tolist(), self.place[chosen].tolist(), strict=True))
        before = [self.histories[row][max(0, place - self.length) : place] for row, place in places]
        targets = np.asarray([self.histories[row][place] for row, place in places], np.int64)
        return padded(before, self.pad, self.length), targets


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
