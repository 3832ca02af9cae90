"""What users did with items: which interactions count, and what is asked of a model when. Pure: a table in, arrays out.

A split by time cuts one timeline for all users: what a model learns from lies before everything that it is asked.
Where each user's last interactions are held out instead, a model knows what others did later (Ji et al., "A critical
study on data leakage in recommender system offline evaluation", ACM TOIS 2023), and is judged too well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kaon.api.dataset import Clean, Split
from kaon_jobs.data.cells import Values, as_numpy, is_missing
from kaon_jobs.data.rows import Table
from kaon_jobs.data.splits import SPLITS, SplitName
from kaon_jobs.errors import StageFailure

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]

MAX_NAME_CHARACTERS = 1024
"""Of a user or an item."""
By = Literal["time", "user", "random"]


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """The interactions that count, in the order of their time, and where they have none in that of the rows."""

    users: Sequence[str]
    """Names, sorted."""
    user: Ids
    """[interactions], indices into `users`."""
    item_names: Sequence[str]
    """Sorted."""
    item: Ids
    """[interactions], indices into `item_names`."""
    time: NDArray[np.float64]
    """[interactions], all 0 where there is no time."""
    row: Ids
    """[interactions], of the table."""

    def __len__(self) -> int:
        return len(self.row)

    def some(self, chosen: NDArray[Any]) -> Interactions:
        """These alone."""
        return Interactions(
            self.users, self.user[chosen], self.item_names, self.item[chosen], self.time[chosen], self.row[chosen]
        )


@dataclass(frozen=True, slots=True)
class Removed:
    """Rows of the table that were left out, by the reason."""

    missing: Ids
    low: Ids
    """Of a rating below clean.minRating."""
    duplicates: Ids
    leaked: Ids
    """Of sources that are not the test split's, whose user and item are in one that is."""
    few: Ids
    """Of a user or an item with too few interactions."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a model is asked on a split: a row for each user."""

    user: Ids
    """[rows], indices into the users."""
    histories: Sequence[Ids]
    """Items that the user had taken, the newest last."""
    targets: Sequence[Ids]
    """Items that they took next; of the training split the history itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Divided:
    """The splits. Items are indices into `items`, the most frequent one of the training split first."""

    by: By | None
    """None: the test split is that of the sources."""
    items: Sequence[str]
    counts: Ids
    """[items], training interactions."""
    texts: Sequence[str | None]
    """Of each item; empty where no column has them."""
    asked: dict[SplitName, Asked]
    interactions: dict[SplitName, int]
    unknown: int
    """Interactions of validation and test with items that no training interaction has."""
    silent: int
    """Users of validation and test who cannot be asked about: nothing is known of them, or nothing is left to find."""
    cuts: dict[str, float]
    """Split -> the time at which it begins, where `by` is time."""


def clean(table: Table, rules: Clean) -> tuple[Interactions, Removed]:
    """Drops what does not count.

    Raises:
        StageFailure: values are missing and the rules forbid it; a name is too long; or nothing is left.
    """
    rules = rules.settled(tables=False)
    columns = {feature.type: values for feature, values in zip(table.columns.features, table.features, strict=True)}
    kept = np.ones(len(table), np.bool_)
    missing = _missing(table, columns, rules)
    kept[missing] = False
    low = np.zeros(0, np.int64)
    if rules.min_rating is not None:
        low = np.flatnonzero(kept & ~(_numbers(columns["rating"]) >= rules.min_rating))
        kept[low] = False
    chosen = np.flatnonzero(kept)
    users, user = _named(columns["user"], chosen, table, "user")
    items, item = _named(table.labels, chosen, table, "item")
    time = _numbers(columns["time"])[chosen] if "time" in columns else np.zeros(len(chosen))
    order = np.lexsort((chosen, time))
    found = Interactions(users, user[order], items, item[order], time[order], chosen[order])
    duplicates = leaked = np.zeros(0, np.int64)
    if rules.duplicates.method == "exact":
        found, duplicates, leaked = _once(found, np.asarray([split == "test" for split in table.pinned]))
    found, few = _frequent(found, rules.min_per_user or 1, rules.min_per_item or 1)
    removed = Removed(missing, low, np.sort(duplicates), np.sort(leaked), np.sort(few))
    if not len(found):
        counts = {
            "have a value missing": missing,
            "have a rating below spec.clean.minRating": low,
            "repeat another one": duplicates,
            "are of a user or an item with fewer than spec.clean.minPerUser or minPerItem": few,
        }
        told = ", ".join(f"{len(rows):,} {why}" for why, rows in counts.items() if len(rows))
        raise StageFailure("SourceEmpty", f"Of {len(table):,} interactions none is left: {told}.")
    return found, removed


def _missing(table: Table, columns: dict[str, Values], rules: Clean) -> Ids:
    gone = table.unlabelled
    for kind, values in columns.items():
        # An item may have no text, and a rating is needed only where one is asked for.
        if kind in ("user", "time") or (kind == "rating" and rules.min_rating is not None):
            gone = gone | is_missing(values)
    missing = np.flatnonzero(gone)
    if len(missing) and rules.missing == "fail":
        raise StageFailure(
            "MissingValues",
            f"{len(missing):,} rows have no user, item, time or rating, first {table.place(int(missing[0]))}. Fill "
            "them in, or set spec.clean.missing to drop.",
        )
    return missing


def _numbers(values: Values) -> NDArray[np.float64]:
    assert not isinstance(values, list)  # a column of numbers
    return np.asarray(as_numpy(values), np.float64)


def _named(values: Any, rows: Ids, table: Table, what: str) -> tuple[list[str], Ids]:
    """The names of a column, sorted, and the index of each row's one."""
    names = sorted({values[row] for row in rows})
    longest = max(names, key=len, default="")
    if len(longest) > MAX_NAME_CHARACTERS:
        row = next(int(row) for row in rows if values[row] == longest)
        raise StageFailure(
            "NameTooLong",
            f"The {what} of {table.place(row)} has {len(longest):,} characters, and {MAX_NAME_CHARACTERS:,} is the "
            f"limit. Name another column as the {what} in spec.schema.features, or shorten its names.",
        )
    ids = {name: index for index, name in enumerate(names)}
    return names, np.fromiter((ids[values[row]] for row in rows), np.int64, len(rows))


def _once(found: Interactions, of_test: Flags) -> tuple[Interactions, Ids, Ids]:
    """Of each pair of a user and an item the last interaction, that of a test source before others; and which go."""
    pairs = found.user * len(found.item_names) + found.item
    held = of_test[found.row]
    # A stable sort keeps the order of time within a pair, and puts what is held out last.
    order = np.lexsort((np.arange(len(pairs)), held, pairs))
    last = np.ones(len(order), np.bool_)
    last[:-1] = pairs[order][1:] != pairs[order][:-1]
    kept = np.zeros(len(order), np.bool_)
    kept[order[last]] = True
    has_test = np.isin(pairs, pairs[held])
    leaked = ~kept & ~held & has_test
    return found.some(kept), found.row[~kept & ~leaked], found.row[leaked]


def _frequent(found: Interactions, per_user: int, per_item: int) -> tuple[Interactions, Ids]:
    """Users and items with enough interactions, once those of the others are gone."""
    gone = []
    while True:
        of_user = np.bincount(found.user, minlength=len(found.users))[found.user]
        of_item = np.bincount(found.item, minlength=len(found.item_names))[found.item]
        kept = (of_user >= per_user) & (of_item >= per_item)
        gone.append(found.row[~kept])
        if kept.all():
            return found, np.concatenate(gone)
        found = found.some(kept)


def divide(found: Interactions, table: Table, spec: Split) -> Divided:
    """Gives each interaction its split, and each user of a split a question.

    By time, a user is asked in the middle of what they did in the split's period: the first half is known by then, so
    that users who are new in it are asked about too; the model has learnt from nothing in it. Else all interactions of
    a split are asked for, with those of the splits before known.

    Raises:
        StageFailure: TestSplitEmpty or TrainSplitEmpty.
    """
    pinned = np.asarray([table.pinned[row] or "" for row in found.row])
    is_test, has_time = pinned == "test", any(feature.type == "time" for feature in table.columns.features)
    by: By = spec.by or ("time" if has_time else "random")
    split = np.zeros(len(found), np.int64)
    cuts: dict[str, float] = {}
    drawn: By | None = by
    if is_test.any():
        split[is_test] = 2
        drawn = None
    elif spec.test > 0:
        split[_held(found, np.flatnonzero(pinned == ""), spec.test, by, spec.seed, "test")] = 2
    if spec.validation > 0:
        split[_held(found, np.flatnonzero(split == 0), spec.validation, by, spec.seed, "validation")] = 1
    for name, number in (("validation", 1), ("test", 2)):
        if by == "time" and (split == number).any() and (drawn or number == 1):
            cuts[name] = float(found.time[split == number].min())
    if not (split == 0).any():
        raise StageFailure(
            "TrainSplitEmpty",
            f"Of {len(found):,} interactions none is left to train on. Add a source to train on, or lower "
            "spec.split.test and spec.split.validation.",
        )
    items, counts, number_of = _catalogue(found, split == 0)
    halves = by == "time"
    asked: dict[SplitName, Asked] = {"train": _sequences(found, number_of, split == 0)}
    asked["validation"], unasked = _questions(found, number_of, split, 1, halves=halves)
    asked["test"], silent = _questions(found, number_of, split, 2, halves=halves and drawn is not None)
    if not len(asked["test"].user):
        told = f"{int((split == 2).sum()):,} of {len(found):,} interactions are the test split"
        raise StageFailure(
            "TestSplitEmpty",
            f"A model is measured on users of whom something is known and something is to be found, and the test split "
            f"has none: {told}. Raise spec.split.test, or set spec.split.by to user, which holds out the last "
            "interactions of each user.",
        )
    return Divided(
        by=drawn,
        items=items,
        counts=counts,
        texts=_texts(found, number_of, len(items), table),
        asked=asked,
        interactions={name: int((split == number).sum()) for number, name in enumerate(SPLITS)},
        unknown=int(((split > 0) & (number_of[found.item] < 0)).sum()),
        silent=unasked + silent,
        cuts=cuts,
    )


def _held(found: Interactions, among: Ids, share: float, by: By, seed: int, name: str) -> Ids:
    """Which of the interactions are held out."""
    if not len(among):
        return among
    if by == "time":
        cut = found.time[among][min(len(among) - 1, int(np.ceil((1 - share) * len(among))))]
        later = among[found.time[among] >= cut]
        # Where the last ones share one point in time, that is no cut.
        return np.asarray(later if len(later) < len(among) else later[:0])
    place = np.arange(len(among))
    if by == "random":
        turns = [_turn(seed, name, found.users[found.user[one]], found.item_names[found.item[one]]) for one in among]
        place = np.argsort(np.argsort(np.asarray(turns)))
    order = np.lexsort((place, found.user[among]))
    _, starts, counts = np.unique(found.user[among][order], return_index=True, return_counts=True)
    wanted = np.minimum(np.maximum(1, np.round(share * counts).astype(np.int64)), counts - 1)
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(among[order[rank >= np.repeat(counts - wanted, counts)]])


def _turn(seed: int, name: str, user: str, item: str) -> bytes:
    """No library's random numbers, and no order of the rows."""
    return hashlib.sha256(f"{seed}:{name}:{len(user)}:{user}{item}".encode()).digest()[:16]


def _catalogue(found: Interactions, train: Flags) -> tuple[list[str], Ids, Ids]:
    """The items of the training split, the most frequent first; how often each occurs; and of each name its number."""
    counts = np.bincount(found.item[train], minlength=len(found.item_names))
    order = np.lexsort((np.arange(len(counts)), -counts))
    order = order[counts[order] > 0]
    number_of = np.full(len(counts), -1, np.int64)
    number_of[order] = np.arange(len(order))
    return [found.item_names[index] for index in order], counts[order], number_of


def _by_user(found: Interactions, number_of: Ids, chosen: Flags) -> dict[int, Ids]:
    """Known items of each user, in the order of time."""
    places = np.flatnonzero(chosen & (number_of[found.item] >= 0))
    places = places[np.argsort(found.user[places], kind="stable")]
    users, starts = np.unique(found.user[places], return_index=True)
    parts = np.split(number_of[found.item[places]], starts[1:])
    return {int(user): part for user, part in zip(users, parts, strict=True)} if len(users) else {}


def _sequences(found: Interactions, number_of: Ids, chosen: Flags) -> Asked:
    of = _by_user(found, number_of, chosen)
    return Asked(np.asarray(list(of), np.int64), list(of.values()), list(of.values()))


def _questions(found: Interactions, number_of: Ids, split: Ids, which: int, *, halves: bool) -> tuple[Asked, int]:
    """What is asked on a split, and how many of its users cannot be asked about."""
    before, inside = _by_user(found, number_of, split < which), _by_user(found, number_of, split == which)
    users, histories, targets = [], [], []
    for user, taken in inside.items():
        known = len(taken) // 2 if halves else 0
        history = np.concatenate([before.get(user, taken[:0]), taken[:known]])
        wanted = np.setdiff1d(taken[known:], history)
        if len(history) and len(wanted):
            users.append(user)
            histories.append(history)
            targets.append(wanted)
    every = len(np.unique(found.user[split == which]))
    return Asked(np.asarray(users, np.int64), histories, targets), every - len(users)


def _texts(found: Interactions, number_of: Ids, items: int, table: Table) -> list[str | None]:
    """The newest text of each item."""
    column = next(
        (
            values
            for feature, values in zip(table.columns.features, table.features, strict=True)
            if feature.type == "text"
        ),
        None,
    )
    if column is None:
        return []
    texts: list[str | None] = [None] * items
    for item, row in zip(number_of[found.item], found.row, strict=True):
        text = column[row]
        if item >= 0 and isinstance(text, str):
            texts[item] = text
    return texts
