"""From histories to a trained model that ranks items, by the name of its kind. `auto` keeps the best of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from kaon_jobs.errors import StageFailure
from kaon_jobs.learn.recommend.linear import Trained, fit_ease, fit_neighbours, fit_popularity
from kaon_jobs.learn.recommend.material import Material, Progress
from kaon_jobs.learn.recommend.towers import fit_towers

KINDS: Mapping[str, Callable[[Material, Progress], Trained]] = {
    "popularity": fit_popularity,
    "item-knn": fit_neighbours,
    "ease": fit_ease,
    "two-tower": fit_towers,
}
"""Name of a builtin model -> how it is trained."""
AUTO = "auto"
_SHARES = {"popularity": 0.1, "item-knn": 1.0, "ease": 1.0, "two-tower": 8.0}
"""Of the time, about."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A kind of model as it was trained, and its nDCG@10 on the questions."""

    kind: str
    trained: Trained
    ndcg: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The best model, the others, and the kinds that could not be trained, with the reason."""

    best: Candidate
    candidates: Sequence[Candidate]
    refused: Mapping[str, str]


def train(kind: str, material: Material, progress: Callable[[str, float], None]) -> Choice:
    """Trains a model of this kind, or of each kind.

    Args:
        kind: of KINDS, or AUTO.
        progress: hears which kind is trained, and the share that is done of everything.

    Raises:
        StageFailure: a kind that was asked for by its name is not for so many items.
    """
    kinds = list(KINDS) if kind == AUTO else [kind]
    whole, done, candidates = sum(_SHARES[one] for one in kinds), 0.0, []
    refused: dict[str, str] = {}
    for one in kinds:
        start = done / whole

        def heard(share: float, one: str = one, start: float = start) -> None:
            progress(one, start + share * _SHARES[one] / whole)

        heard(0.0)
        try:
            with threadpool_limits(material.threads):
                trained = KINDS[one](material, heard)
            candidates.append(Candidate(one, trained, material.ndcg(trained.model)))
        except StageFailure as failure:
            if kind != AUTO:
                raise
            refused[one] = failure.message
        done += _SHARES[one]
    # Of equals the plainer one, which comes first.
    return Choice(max(candidates, key=lambda candidate: candidate.ndcg), candidates, refused)
