"""How sure paired answers make us that a drop is at most so large. Pure: a table of pairs in, shares and limits out.

Both models answered the same rows, so only the rows on which they differ speak. The certainty that the true drop is at
most `bound` is computed so that it errs towards doubt: of models whose true drop is larger than the bound, at most 5 %
get a certainty of 95 %, and so on for every share. How:

- Rates are uncertain as in the Bayesian bootstrap (Rubin, Annals of Statistics 1981), within each true class, so that a
  class of ten rows is as uncertain as ten rows are. Alone, that would be certain of what never occurred in ten rows.
- So one more row is counted as lost, where that harms most. For a single rate it turns the bootstrap into the limit of
  Clopper and Pearson (Biometrika 1934); for a sum of many it is the rule of Fay and Feuer (Statistics in Medicine 1997)
  for rates that are weighted sums, where the extra row has the largest weight of all.
- Lost and won rows together are melded confidence distributions (Fay, Proschan and Brittain, Biometrics 2015). At a
  bound of 0 the certainty is one less the p-value of the exact test of McNemar.

Where a row that is lost goes is not known; the extra one goes to the largest other class. By simulation
(benchmarks/compression/gate.py) false accepts stay under the stated share also when lost rows go where they harm twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

from kaon.api.compressionjob import Interval
from kaon_jobs.compress.statistics.pairs import Pairs, Weights, elsewhere

DRAWS = 8000
"""Of rates, for macro-F1: a share of 5 % is then known to a quarter of a percent."""
_NODES = 500
_CHUNK = 4_000_000
"""Numbers held at once while drawing."""
_LAST_BIT = 1e-9
"""A drop of 5/100 against a bound of 0.05 is a question of rows, not of the last bit of a float."""


def certainty(lost: float, won: float, rows: float, bound: float) -> float:
    """That the true share of rows lost, less that of rows won, is at most `bound`; counts may be fractions.

    0 for no rows: nothing is known then.
    """
    if rows <= 0:
        return 0.0
    # Shares are Dirichlet(lost + 1, won, the rest): changed rows ~ Beta, of them lost ~ Beta, independent of it.
    rest = max(0.0, rows - lost - won)
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    changed = betaincinv(lost + 1 + won, rest, nodes) if rest > 0 else np.ones(1)
    if won <= 0:
        at = np.clip(bound + _LAST_BIT, 0.0, 1.0)
        return float(betainc(lost + 1, rest, at)) if rest > 0 else float(bound >= 1)
    threshold = np.clip((1 + (bound + _LAST_BIT) / np.maximum(changed, 1e-12)) / 2, 0.0, 1.0)
    return float(np.mean(betainc(lost + 1, won, threshold)))


def certainty_of_more(lost: float, won: float, rows: float, bound: float) -> float:
    """That the true drop is larger than `bound`."""
    return certainty(won, lost, rows, -bound)


def upper_limit(lost: float, won: float, rows: float, confidence: float) -> float:
    """The smallest bound that the true drop keeps with this certainty."""
    low, high = -1.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if certainty(lost, won, rows, middle) >= confidence else (middle, high)
    return high


def lower_limit(lost: float, won: float, rows: float, confidence: float) -> float:
    """The largest bound that the true drop exceeds with this certainty."""
    return -upper_limit(won, lost, rows, confidence)


def of_rate(lost: float, won: float, rows: float, confidence: float) -> Interval:
    """The share of rows lost, less that of rows won, with its limits. There is at least one row."""
    return Interval(
        value=(lost - won) / rows,
        low=lower_limit(lost, won, rows, confidence),
        high=upper_limit(lost, won, rows, confidence),
    )


@dataclass(frozen=True, slots=True, eq=False)
class MacroF1Drops:
    """What the true drop of macro-F1 may be: ascending, one value a draw; once feared, once hoped."""

    feared: NDArray[np.float64]
    """With one more row lost where that harms most."""
    hoped: NDArray[np.float64]
    """With one more row won where that helps most."""

    def certainty(self, bound: float) -> float:
        """That the true drop is at most `bound`."""
        return _share_up_to(self.feared, bound)

    def certainty_of_more(self, bound: float) -> float:
        """That the true drop is larger than `bound`."""
        return 1 - _share_up_to(self.hoped, bound)

    def upper_limit(self, confidence: float) -> float:
        """The smallest drawn bound that the true drop keeps with this certainty."""
        return float(np.quantile(self.feared, confidence, method="higher"))

    def lower_limit(self, confidence: float) -> float:
        """The largest drawn bound that the true drop exceeds with this certainty."""
        return float(np.quantile(self.hoped, 1 - confidence, method="lower"))


def macro_f1_drops(pairs: Pairs, seed: int, draws: int = DRAWS) -> MacroF1Drops:
    """Draws what the true drop of macro-F1 may be. There is at least one row."""
    known = pairs.weights
    return MacroF1Drops(
        _drawn(pairs, known, seed, draws, lost=True),
        _drawn(pairs, known, seed, draws, lost=False),
    )


def macro_f1_certainty(pairs: Pairs, known: Weights, bound: float, seed: int, draws: int) -> float:
    """That the true drop is at most `bound`, if of each kind so many rows were known as `known` says.

    Classes keep their share of the pairs' rows. So this tells what more rows of a class would show, if they were
    answered like those that are there.
    """
    return _share_up_to(_drawn(pairs, known, seed, draws, lost=True), bound)


def macro_f1_certainty_of_more(pairs: Pairs, known: Weights, bound: float, seed: int, draws: int) -> float:
    """That the true drop is larger than `bound`, if of each kind so many rows were known as `known` says."""
    return 1 - _share_up_to(_drawn(pairs, known, seed, draws, lost=False), bound)


def _share_up_to(drawn: NDArray[np.float64], bound: float) -> float:
    return float(np.searchsorted(drawn, bound + _LAST_BIT, side="right")) / len(drawn)


def _drawn(pairs: Pairs, known: Weights, seed: int, draws: int, *, lost: bool) -> NDArray[np.float64]:
    if len(pairs.labels) < 2:
        return np.ones(1) if lost else -np.ones(1)
    wider, weights = _with_extra_row(pairs, known, lost=lost)
    used = weights > 0
    table = Pairs(wider.labels, wider.truth[used], wider.baseline[used], wider.candidate[used], weights[used])
    random = np.random.default_rng(seed)
    found = [
        table.macro_f1_drop(in_split(table, random.standard_gamma(table.weights, (count, used.sum())), pairs.support))
        for count in _chunks(draws, len(table.weights))
    ]
    return np.sort(np.concatenate(found))


def _with_extra_row(pairs: Pairs, known: Weights, *, lost: bool) -> tuple[Pairs, Weights]:
    """The table with one more row, in the class where it changes macro-F1 most."""
    classes = np.flatnonzero(pairs.of_classes(known) > 0)
    right, wrong = classes, elsewhere(pairs)[classes]
    wider = pairs.with_kinds(classes, right if lost else wrong, wrong if lost else right)
    before = np.concatenate([known, np.zeros(len(classes))])
    lines = np.tile(before, (len(classes), 1))
    lines[np.arange(len(classes)), len(known) + np.arange(len(classes))] = 1.0
    change = wider.macro_f1_drop(in_split(wider, lines, pairs.support))
    worst = int(np.argmax(change if lost else -change))
    return wider, lines[worst]


def in_split(pairs: Pairs, weights: Weights, support: Weights) -> Weights:
    """Lines of weights, scaled so that each class has the rows that `support` says."""
    share = support / np.maximum(pairs.of_classes(weights), 1e-300)
    return weights * share[..., pairs.truth]


def _chunks(draws: int, kinds: int) -> Iterator[int]:
    size = max(1, _CHUNK // max(1, kinds))
    for start in range(0, draws, size):
        yield min(size, draws - start)
