"""Structures of a text encoder: its layers, heads, the width of its feed-forward parts, its tokens. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaon.api.compressionjob import Prune, Step, Vocabulary
from kaon_jobs.compress.search.moves import DYNAMIC, FUSION, TABLES_IN_INT4
from kaon_jobs.compress.search.shape import BATCH, Choices

MIN_COUNTS = (1, 2, 3, 5, 8)
"""How rare a token may be."""
FIRST_MIN_COUNT = 2
_FIRST_NARROWED = (0.0, 0.5, 0.75)
_NARROWED = (0.0, 0.25, 0.5, 0.625, 0.75, 0.875)
_FEWER_HEADS = (0.0, 0.25, 0.5)
_RUNGS = ((4, 600), (10, 1500))
"""What each rung of halving adds: so many epochs, or so many steps where these are fewer, as with many rows."""
_EPOCHS = ((12, 1800), (20, 3000), (30, 4500))
_FEWEST_EPOCHS = 2


@dataclass(frozen=True, slots=True)
class EncoderStructure:
    """What is left of the model."""

    layers: tuple[int, ...]
    """Those that stay."""
    narrowed: float
    """The share of each feed-forward part that goes."""
    min_count: int
    """How rare a token may be."""
    fewer_heads: float = 0.0
    """The share of each layer's heads that goes."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Of the trained model: what a structure is a part of. See Shape."""

    depth: int
    hidden: int
    width: int
    """Of the feed-forward parts."""
    heads: int
    """In a layer."""
    sequence: int
    """Tokens it reads at most."""
    vocabulary: int
    """Tokens it knows."""
    tokens: tuple[tuple[int, int], ...]
    """(times that the training texts must hold a token for it to stay, tokens that stay)."""
    rows: int
    """Training rows."""
    embedding: int | None = None
    """Numbers of a token's embedding, where these are not as many as `hidden`."""
    weight_sets: int | None = None
    """Layers with weights of their own, where layers share theirs."""

    @property
    def whole(self) -> EncoderStructure:
        """All layers in full width, and each token that occurs."""
        return EncoderStructure(tuple(range(self.depth)), 0.0, MIN_COUNTS[0])

    @property
    def smallest(self) -> EncoderStructure:
        """One narrow layer."""
        return EncoderStructure(spread(self.depth, 1), _NARROWED[-1], MIN_COUNTS[-1], self._fewer_heads[-1])

    @property
    def smallest_in_words(self) -> str:
        """See Shape."""
        return "one narrow layer in INT8"

    @property
    def probes(self) -> list[EncoderStructure]:
        """See Shape."""
        return [
            EncoderStructure(spread(self.depth, 1), 0.75, FIRST_MIN_COUNT),
            EncoderStructure(spread(self.depth, max(1, self.depth // 2)), 0.5, FIRST_MIN_COUNT),
            EncoderStructure(spread(self.depth, self.depth), 0.0, FIRST_MIN_COUNT),
        ]

    @property
    def first(self) -> list[EncoderStructure]:
        """See Shape."""
        return self._of(FIRST_MIN_COUNT)

    @property
    def rarer(self) -> list[EncoderStructure]:
        """With the fewest tokens."""
        return self._of(MIN_COUNTS[-1])

    def _of(self, min_count: int) -> list[EncoderStructure]:
        found = [
            EncoderStructure(spread(self.depth, count), narrowed, min_count)
            for count in depths(self.depth)
            for narrowed in _FIRST_NARROWED
        ]
        return sorted(found, key=lambda structure: -self.work(structure))

    @property
    def choices(self) -> Choices:
        """See Shape."""
        return {
            "layers": depths(self.depth),
            "narrowed": _NARROWED,
            "minCount": MIN_COUNTS,
            "fewerHeads": self._fewer_heads,
        }

    @property
    def rungs(self) -> tuple[int, ...]:
        """See Shape."""
        return tuple(self._epochs(*rung) for rung in _RUNGS)

    @property
    def epochs(self) -> tuple[int, ...]:
        """See Shape."""
        return tuple(sorted({self._epochs(*training) for training in _EPOCHS}))

    @property
    def rates(self) -> tuple[float, ...]:
        """See Shape."""
        return (1e-4, 2e-4, 3e-4, 5e-4, 8e-4)

    def steps(self, structure: EncoderStructure) -> tuple[Step, ...]:
        """See Shape."""
        made = []
        if dict(self.tokens)[structure.min_count] < self.vocabulary:
            made.append(Step(vocabulary=Vocabulary(min_count=structure.min_count)))
        if len(structure.layers) < self.depth:
            made.append(Step(prune=Prune(method="layers", keep_layers=list(structure.layers))))
        if structure.narrowed:
            made.append(Step(prune=Prune(method="ffn", ratio=structure.narrowed)))
        if structure.fewer_heads:
            made.append(Step(prune=Prune(method="heads", ratio=structure.fewer_heads)))
        return tuple(made)

    def work(self, structure: EncoderStructure) -> float:
        """Multiplications of one prediction. The last feed-forward part sees a single token (first_token.py)."""
        hidden, width, sequence = self.hidden, self.width * (1 - structure.narrowed), self.sequence
        attended = hidden * (1 - structure.fewer_heads)
        attention = sequence * 3 * hidden * attended + 2 * sequence**2 * attended
        rows = attended * hidden + 2 * hidden * width
        count = len(structure.layers)
        return count * attention + ((count - 1) * sequence + 1) * rows

    def weights(self, structure: EncoderStructure) -> float:
        """Numbers that are stored."""
        hidden, width = self.hidden, self.width * (1 - structure.narrowed)
        attended, tokens = hidden * (1 - structure.fewer_heads), dict(self.tokens)[structure.min_count]
        count = len(structure.layers) if self.weight_sets is None else min(len(structure.layers), self.weight_sets)
        return tokens * (self.embedding or hidden) + count * (4 * hidden * attended + 2 * hidden * width)

    def structure_of(self, steps: Sequence[Step]) -> EncoderStructure:
        """See Shape."""
        layers, narrowed, min_count, fewer_heads = tuple(range(self.depth)), 0.0, MIN_COUNTS[0], 0.0
        for step in steps:
            if step.vocabulary is not None:
                min_count = step.vocabulary.min_count or MIN_COUNTS[0]
            if step.prune is not None and step.prune.keep_layers is not None:
                layers = tuple(step.prune.keep_layers)
            if step.prune is not None and step.prune.method == "ffn":
                narrowed = step.prune.ratio or 0.0
            if step.prune is not None and step.prune.method == "heads":
                fewer_heads = step.prune.ratio or 0.0
        return EncoderStructure(layers, narrowed, min_count, fewer_heads)

    def parameters(self, structure: EncoderStructure) -> dict[str, Any]:
        """See Shape."""
        return {
            "layers": len(structure.layers),
            "narrowed": structure.narrowed,
            "minCount": structure.min_count,
            "fewerHeads": structure.fewer_heads,
        }

    def structure(self, parameters: Mapping[str, Any]) -> EncoderStructure:
        """See Shape."""
        return EncoderStructure(
            spread(self.depth, parameters["layers"]),
            parameters["narrowed"],
            parameters["minCount"],
            parameters["fewerHeads"],
        )

    def tails(self, fusible: bool, objective: str) -> list[tuple[Step, ...]]:
        """Fused, where that can be, and in INT8; for size the tables in INT4 too: bytes fewer, and no time."""
        eight = (FUSION, DYNAMIC) if fusible else (DYNAMIC,)
        # Fused tables are no longer tables, so four bits come first.
        return [eight, (TABLES_IN_INT4, *eight)] if objective == "size" else [eight]

    @property
    def _fewer_heads(self) -> list[float]:
        """Of few heads not every share can go."""
        return [share for share in _FEWER_HEADS if share == 0 or round(self.heads * share) >= 1]

    def _epochs(self, epochs: int, steps: int) -> int:
        return min(epochs, max(_FEWEST_EPOCHS, round(steps * BATCH / self.rows)))


def depths(depth: int) -> list[int]:
    """How many layers may stay: all, and fewer down to one; of a deep model not every number."""
    counts = {depth, max(1, round(depth * 0.75)), max(1, depth // 2), max(1, depth // 3), 1}
    return sorted(counts | {count for count in (1, 2, 3) if count <= depth}, reverse=True)


def spread(depth: int, count: int) -> tuple[int, ...]:
    """`count` layers of a model: the first, the last, and evenly between."""
    if count == 1:
        return (0,)
    return tuple(round(index * (depth - 1) / (count - 1)) for index in range(count))
