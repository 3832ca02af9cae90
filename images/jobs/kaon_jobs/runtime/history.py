"""Histories of items as the numbers that a model reads, and its scores as the best items. Copied beside the model,
which needs no Kaon then.

Imports only what a serving image has. A row is a pair: the names of the items that a user has taken, the newest last,
and the name of a user. Where no item is given the user's own history is read, if the model knows the user. An item that
it does not know is left out; where none is left, the items that most users take are the answer.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NONE = -1
"""In the place of an item, where there are fewer than are asked for."""


class HistoryReader:
    """Reads rows for a model whose items, and the histories of whose users, lie in two files."""

    def __init__(self, items: Path, users: Path, length: int, count: int) -> None:
        """Args:
        length: items of a history that the model reads at most, the newest.
        count: items that are the answer.
        """
        self.names: list[str] = json.loads(items.read_text(encoding="utf-8"))
        self.length, self.count = length, count
        self._numbers = {name: number for number, name in enumerate(self.names)}
        with np.load(users, allow_pickle=False) as file:
            known = json.loads(file["users"].tobytes().decode("utf-8"))
            self._starts, self._items = file["starts"], file["items"]
        self._users = {name: number for number, name in enumerate(known)}

    def seen(self, row: "Sequence[Any]") -> "np.ndarray":
        """The numbers of a row's items, each once, the newest last."""
        given, user = row[0] or (), row[1]
        known = [number for name in given if (number := self._numbers.get(name)) is not None]
        if not any(given) and user in self._users:
            place = self._users[user]
            known = self._items[self._starts[place] : self._starts[place + 1]].tolist()
        return np.asarray(list(dict.fromkeys(reversed(known)))[::-1], dtype=np.int64)

    def numbers(self, rows: "Sequence[Sequence[Any]]") -> "np.ndarray":
        """The rows as int64 [rows, longest]: the newest item is the last, and before the first one stands the number
        behind all items."""
        return padded([self.seen(row) for row in rows], len(self.names), self.length)

    def answers(self, rows: "Sequence[Sequence[Any]]", scores: "np.ndarray") -> "np.ndarray":
        """The best items that a user has not taken, float32 [rows, 2 count]: their numbers, then their scores.

        Args:
            scores: [rows, items]
        """
        return best([self.seen(row) for row in rows], scores, self.count)

    def tensors(self, answers: "np.ndarray") -> "dict[str, np.ndarray]":
        """The outputs of the V2 protocol. Where there are too few items a name is empty."""
        numbers = answers[:, : self.count].astype(np.int64)
        names = [["" if number == NONE else self.names[number] for number in row] for row in numbers]
        return {
            "items": np.array(names, dtype=np.object_).reshape(len(answers), self.count),
            "scores": answers[:, self.count :].astype(np.float32),
        }


def padded(histories: "Sequence[np.ndarray]", pad: int, length: int) -> "np.ndarray":
    """The last `length` numbers of each, int64 [histories, longest of them and at least 1], filled up in front."""
    longest = max(1, min(length, max((len(one) for one in histories), default=1)))
    found = np.full((len(histories), longest), pad, dtype=np.int64)
    for row, one in enumerate(histories):
        kept = one[-longest:]
        if len(kept):
            found[row, longest - len(kept) :] = kept
    return found


def best(seen: "Sequence[np.ndarray]", scores: "np.ndarray", count: int) -> "np.ndarray":
    """See HistoryReader.answers. Of two items with one score the first by number, which more users take."""
    left = np.array(scores, dtype=np.float32)
    for row, one in enumerate(seen):
        left[row, one] = -np.inf
    found = np.full((len(left), 2 * count), 0, dtype=np.float32)
    found[:, :count] = NONE
    for row, values in enumerate(left):
        if np.isnan(values).any() or (values == np.inf).any():
            # A score that is no number stays one, so that it is found.
            found[row] = np.nan
            continue
        bound = min(count, len(values))
        least = np.partition(values, len(values) - bound)[len(values) - bound]
        there = np.flatnonzero((values >= least) & (values > -np.inf))
        order = there[np.argsort(-values[there], kind="stable")][:count]
        found[row, : len(order)] = order
        found[row, count : count + len(order)] = values[order]
    return found
