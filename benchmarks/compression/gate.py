"""How often the gate errs: models whose true drop is known, split after split, held against their budget.

    PYTHONPATH=operator:images/jobs python benchmarks/compression/gate.py [--splits 4000] [--only r8]

Two tables. The first takes models whose true drop is just over the budget: the share that is accepted must stay under
one less the confidence, 5 %. The second takes good ones, whose true drop is 0, a quarter, a half and three quarters of
the budget: what is not accepted of them is the price. Nothing is trained: a model is what it answers, with rates that
are set, and a test split is drawn from it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta  # type: ignore[import-untyped]

from kaon.api.compressionjob import Budget
from kaon_jobs.compress.statistics.decisions import Finding, finding
from kaon_jobs.compress.statistics.pairs import Pairs, Weights

DRAWS = 2000
CHURN = 0.004
"""Share of rows on which a candidate changes its answer to no harm: as many lost as won."""
OVER = 1.001
"""Just over the budget."""
SHARES = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Split:
    """The test split: rows of each class, and the baseline's recall of them."""

    name: str
    rows: tuple[int, ...]
    recall: tuple[float, ...]


SPLITS = {
    "r8": Split(
        "Reuters R8: 2,189 rows, 8 classes, the rarest of 10",
        (696, 121, 1083, 10, 81, 87, 36, 75),
        (0.98, 0.95, 0.99, 0.90, 0.88, 0.88, 0.86, 0.95),
    ),
    "r8-perfect": Split(
        "the same, and a baseline that errs only in the large classes",
        (696, 121, 1083, 10, 81, 87, 36, 75),
        (0.98, 0.95, 0.99, 1.0, 0.95, 0.95, 1.0, 0.95),
    ),
    "balanced": Split("balanced: 20 classes of 100 rows", (100,) * 20, (0.9,) * 20),
    "binary": Split("binary, 19 to 1: 950 and 50 rows", (950, 50), (0.98, 0.85)),
    "large": Split(
        "as R8, ten times the rows",
        (6960, 1210, 10830, 100, 810, 870, 360, 750),
        (0.98, 0.95, 0.99, 0.90, 0.88, 0.88, 0.86, 0.95),
    ),
}
HARMS = ("all classes alike", "where the baseline errs", "the rarest class", "into the rarest class")
"""Where a model loses its rows. The last: rows of the second rarest are taken for the rarest, and harm both."""
BUDGETS = {
    "accuracy, 1 point": Budget(max_drop={"accuracy": 0.01}),
    "macro-F1, 2 points": Budget(max_drop={"macroF1": 0.02}),
    "recall of each class, 5 points": Budget(max_class_recall_drop=0.05),
}


@dataclass(frozen=True)
class Model:
    """A candidate's true behaviour: the shares of each kind of row, by class, as a table of pairs."""

    pairs: Pairs
    rows: tuple[int, ...]

    def splits(self, count: int, seed: int) -> Iterator[Pairs]:
        """Test splits drawn from it, with the same rows a class."""
        random = np.random.default_rng(seed)
        drawn = np.zeros((count, len(self.pairs.weights)))
        for label, rows in enumerate(self.rows):
            kinds = np.flatnonzero(self.pairs.truth == label)
            shares = self.pairs.weights[kinds]
            drawn[:, kinds] = random.multinomial(rows, shares / shares.sum(), size=count)
        for line in drawn:
            there = line > 0
            table = self.pairs
            yield Pairs(table.labels, table.truth[there], table.baseline[there], table.candidate[there], line[there])

    def drop(self, budget: Budget) -> float:
        """The true drop of what the budget bounds."""
        weights = self.pairs.weights
        for metric in budget.max_drop or {}:
            return float(self.pairs.drop(metric, weights))
        lost, won = self.pairs.of_classes(weights * self.pairs.lost), self.pairs.of_classes(weights * self.pairs.won)
        return float(((lost - won) / self.pairs.support).max())


def model(split: Split, harm: str, strength: float) -> Model:
    """A candidate that loses rows of some classes; `strength` 0 to 1 scales how many."""
    count = len(split.rows)
    rows, recall = np.asarray(split.rows, dtype=np.float64), np.asarray(split.recall)
    order = np.argsort(rows, kind="stable")
    harmed = {
        "all classes alike": np.ones(count),
        "where the baseline errs": (1 - recall) / (1 - recall).max(),
        "the rarest class": np.eye(count)[order[0]],
        "into the rarest class": np.eye(count)[order[1]],
    }[harm]
    kinds: list[tuple[int, int, int, float]] = []
    for label in range(count):
        to = _shares_of_errors(rows, label)
        where = np.eye(count)[order[0]] if harm == "into the rarest class" and label == order[1] else to
        lost = recall[label] * min(1.0, strength * harmed[label])
        # What is won can only be what the baseline gets wrong; as much is lost again.
        churn = min(CHURN, 1 - recall[label], recall[label] - lost)
        kinds.append((label, label, label, recall[label] - lost - churn))
        for other in np.flatnonzero(to + where):
            kinds.append((label, label, int(other), lost * where[other] + churn * to[other]))
            kinds.append((label, int(other), label, churn * to[other]))
            kinds.append((label, int(other), int(other), (1 - recall[label] - churn) * to[other]))
    truth, baseline, candidate = (np.array([kind[index] for kind in kinds], dtype=np.int64) for index in range(3))
    weights = np.array([kind[3] for kind in kinds]) * rows[truth]
    used = weights > 0
    labels = tuple(str(label) for label in range(count))
    return Model(Pairs(labels, truth[used], baseline[used], candidate[used], weights[used]), split.rows)


def model_with_drop(split: Split, harm: str, budget: Budget, drop: float) -> Model | None:
    """The candidate whose true drop is this; None when that harm alone cannot be so large."""
    low, high = 0.0, 1.0
    if model(split, harm, high).drop(budget) < drop:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if model(split, harm, middle).drop(budget) < drop else (low, middle)
    return model(split, harm, high if drop > 0 else 0.0)


def shares(candidate: Model, budget: Budget, splits: int, seed: int, draws: int = DRAWS) -> dict[Finding, float]:
    """How often each verdict is given on splits drawn from a model."""
    found = [finding(budget, pairs, number, draws) for number, pairs in enumerate(candidate.splits(splits, seed))]
    return {verdict: found.count(verdict) / splits for verdict in Finding}


def bound_of(budget: Budget) -> float:
    """The one bound that is set."""
    bounds = (*(budget.max_drop or {}).values(), budget.max_class_recall_drop)
    return next(value for value in bounds if value is not None)


def _shares_of_errors(rows: Weights, label: int) -> Weights:
    """What a row of a class is taken for when it is taken for another: one of the four largest, by their size."""
    weights = rows.copy()
    weights[label] = 0
    weights[np.argsort(-weights, kind="stable")[4:]] = 0
    return weights / weights.sum()


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--splits",
        type=int,
        default=4000,
        help="test splits drawn for each line of the first table; a quarter for the second",
    )
    parser.add_argument("--only", choices=list(SPLITS), action="append", help="this test split; may be repeated")
    parser.add_argument("--budget", choices=list(BUDGETS), action="append", help="this budget; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.monotonic()
    chosen = {key: SPLITS[key] for key in given.only or SPLITS}
    budgets = {name: BUDGETS[name] for name in given.budget or BUDGETS}
    print("Models whose true drop is just over the budget: the share accepted, which must be under 5 %.\n")
    print("| test split | budget | rows are lost in | accepted | at most (99 % sure) | inconclusive | rejected |")
    print("|---|---|---|---|---|---|---|")
    for key, split in chosen.items():
        for name, budget, harm in cases(budgets):
            _false_accepts(split, name, budget, harm, given.splits, given.seed)
        print(f"{key}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    print("\nGood models, by their true drop: accepted / inconclusive / rejected, in percent.\n")
    print("| test split | budget | rows are lost in | none | 1/4 of the budget | 1/2 | 3/4 |")
    print("|---|---|---|---|---|---|---|")
    for key, split in chosen.items():
        for name, budget, harm in cases(budgets):
            _good_models(split, name, budget, harm, given.splits // 4, given.seed)
        print(f"{key}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def cases(budgets: Mapping[str, Budget]) -> Iterator[tuple[str, Budget, str]]:
    """Each of these budgets with every harm."""
    for name, budget in budgets.items():
        for harm in HARMS:
            yield name, budget, harm


def _false_accepts(split: Split, name: str, budget: Budget, harm: str, splits: int, seed: int) -> None:
    candidate = model_with_drop(split, harm, budget, OVER * bound_of(budget))
    if candidate is None:
        return
    found = shares(candidate, budget, splits, seed)
    accepted = round(found[Finding.KEPT] * splits)
    print(
        f"| {split.name} | {name} | {harm} | {accepted / splits:.1%} | "
        f"{beta.ppf(0.99, accepted + 1, splits - accepted):.1%} | {found[Finding.UNDECIDED]:.0%} | "
        f"{found[Finding.BROKEN]:.0%} |",
        flush=True,
    )


def _good_models(split: Split, name: str, budget: Budget, harm: str, splits: int, seed: int) -> None:
    cells = []
    for share in SHARES:
        candidate = model_with_drop(split, harm, budget, share * bound_of(budget))
        if candidate is None:
            return
        found = shares(candidate, budget, splits, seed)
        cells.append(" / ".join(f"{100 * found[one]:.0f}" for one in (Finding.KEPT, Finding.UNDECIDED, Finding.BROKEN)))
    print(f"| {split.name} | {name} | {harm} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
