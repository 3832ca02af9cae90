"""How likely a candidate is to keep its budgets of quality, from few rows, to choose by. Pure.

Not a verdict: on a validation split whose smallest class has four rows hardly anything can be shown, and yet one
candidate has to be sent to the test split. So here classes with few rows are thought to be like the others until their
rows say otherwise: the posterior of each class's outcomes under a Dirichlet prior that is centred on the outcomes of
the whole split and weighs as much as PRIOR_ROWS rows (partial pooling; Gelman et al., Bayesian Data Analysis, chapter
5). A class of four rows then has less than a third of a say in its own rates, one of four hundred nearly all of it.
"""

from __future__ import annotations

import numpy as np

from kaon.api.compressionjob import Budget
from kaon_jobs.compress.statistics.decisions import Finding, finding
from kaon_jobs.compress.statistics.limits import in_split
from kaon_jobs.compress.statistics.pairs import Pairs, Weights, elsewhere

PRIOR_ROWS = 10.0
DRAWS = 2000
TEST_SPLITS = 100
"""Drawn to tell a chance of passing."""
SHOWN_DRAWS = 400
_LAST_BIT = 1e-9


def chance(budget: Budget, pairs: Pairs, seed: int, draws: int = DRAWS) -> float:
    """The posterior probability, 0 to 1, that every budget of quality is kept at once."""
    table = _with_prior(pairs)
    shares = _shares(table, seed, draws)
    kept = np.ones(draws, dtype=bool)
    lines = in_split(table, shares, pairs.support)
    for metric, bound in (budget.max_drop or {}).items():
        kept &= table.drop(metric, lines) <= bound + _LAST_BIT
    if budget.max_class_recall_drop is not None:
        drops = table.of_classes(shares * table.lost) - table.of_classes(shares * table.won)
        kept &= drops.max(axis=1) <= budget.max_class_recall_drop + _LAST_BIT
    return float(kept.mean())


def _with_prior(pairs: Pairs) -> Pairs:
    """The table with the prior's rows added: four kinds a class, in the shares of the whole split."""
    every = np.arange(len(pairs.labels))
    other = elsewhere(pairs)
    wider = pairs.with_kinds(
        np.tile(every, 4),
        np.concatenate([every, other, every, other]),
        np.concatenate([other, every, every, other]),
    )
    both_wrong = (pairs.baseline != pairs.truth) & (pairs.candidate != pairs.truth)
    both_right = (pairs.baseline == pairs.truth) & (pairs.candidate == pairs.truth)
    outcomes = (pairs.lost, pairs.won, both_right, both_wrong)
    # Half a row more of each, so that nothing is thought impossible.
    shares = [(float(pairs.weights @ kinds) + 0.5) / (pairs.rows + 2) for kinds in outcomes]
    prior = np.repeat(shares, len(every))
    weights = wider.weights + np.concatenate([np.zeros(len(pairs.weights)), PRIOR_ROWS * prior])
    return Pairs(wider.labels, wider.truth, wider.baseline, wider.candidate, weights)


def _shares(table: Pairs, seed: int, draws: int) -> Weights:
    drawn = np.random.default_rng(seed).standard_gamma(table.weights, (draws, len(table.weights)))
    return drawn / np.maximum(table.of_classes(drawn), 1e-300)[:, table.truth]


def chance_of_passing(budget: Budget, pairs: Pairs, test_support: Weights, seed: int) -> float:
    """How likely a candidate is to pass on a test split with these numbers of rows a class, as far as `pairs` tell.

    Draws what its true rates may be, from them a test split, and holds that against the budget as the verdict does.
    Nothing but the sizes of the classes is known of the test split.
    """
    table = _with_prior(pairs)
    shares = _shares(table, seed, TEST_SPLITS)
    random = np.random.default_rng(seed)
    passed = 0
    for line in shares:
        drawn = np.zeros(len(line))
        for label in np.flatnonzero(test_support):
            kinds = np.flatnonzero(table.truth == label)
            drawn[kinds] = random.multinomial(int(test_support[label]), line[kinds] / line[kinds].sum())
        there = drawn > 0
        split = Pairs(table.labels, table.truth[there], table.baseline[there], table.candidate[there], drawn[there])
        if budget.on_inconclusive == "Accept":
            passed += _keeps_as_measured(budget, split)
        else:
            passed += finding(budget, split, seed, SHOWN_DRAWS) is Finding.KEPT
    return passed / len(shares)


def _keeps_as_measured(budget: Budget, pairs: Pairs) -> bool:
    """The lenient policy: a model passes on the drops as measured."""
    there = pairs.support > 0
    net = pairs.of_classes(pairs.weights * pairs.lost) - pairs.of_classes(pairs.weights * pairs.won)
    drops = net[there] / pairs.support[there]
    found = [(pairs.drop(metric, pairs.weights), bound) for metric, bound in (budget.max_drop or {}).items()]
    if budget.max_class_recall_drop is not None:
        found.append((drops.max(initial=-1.0), budget.max_class_recall_drop))
    return all(float(drop) <= bound + _LAST_BIT for drop, bound in found)
