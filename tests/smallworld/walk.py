"""A walk through a world that is too large to be explored: one move after another, and then the fair way to rest.

The real engine follows in lock-step (mirror.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from .explore import Explorer
from .mirror import Mirror
from .model import Move
from .state import State
from .world import World

LONGEST_WAY = 5000
"""More steps than any way to rest takes; beyond it the world goes round in a circle."""


class Walk:
    """One walk. Whatever must hold is looked at after each step."""

    def __init__(self, world: World, patch: Any) -> None:
        # The mirror's clock stands still while a reconcile is under way.
        self._explorer = Explorer(dataclasses.replace(world, brisk=True))
        self._explorer.model.unique_uids = True
        self._mirror = Mirror(self._explorer.model, self._explorer.engine, patch)
        self._state = self._explorer.model.first()
        self.way: list[str] = []
        """The moves so far."""

    def go(self, choose: Callable[[list[Move]], Move], steps: int) -> None:
        """Take `steps` moves, each chosen from all that are possible."""
        for _ in range(steps):
            moves = list(self._moves())
            if moves:
                self._take(choose(moves))

    def rest(self) -> None:
        """Go to rest, and look whether all is as declared."""
        for _ in range(LONGEST_WAY):
            move = next((move for move in self._moves() if move.progress), None)
            if move is None:
                self._explorer.rest.check(self._state)
                return
            self._take(move)
        raise AssertionError("the world does not come to rest")

    def _moves(self) -> Iterator[Move]:
        for move in self._explorer.moves(self._state):
            if move.state != self._state and self._mirror.permits(move):
                yield move

    def _take(self, move: Move) -> None:
        before: State = self._state
        self.way.append(f"{move.what} {move.whom}")
        self._explorer.check(move.state)
        self._explorer.properties.check_step(before, move)
        self._mirror.follow(before, move)
        self._state = move.state
