"""The state of a world: what the API server holds, what the operator has seen of it, what it is about to write.

All parts are tuples of numbers of Objects. Versions are left out: an object's content tells them apart, since a
resource's generation never goes back, and a lane keeps its events in order (see docs/decisions).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from kaon.controllers.base import Key


class Lane(NamedTuple):
    """One kind: the API server's objects, the operator's view of them, and the way from one to the other."""

    api: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    events: tuple[int, ...] = ()
    """What the watch has yet to bring, oldest first: an object, or as a negative number the last of a deleted one."""
    log: tuple[tuple[int, int], ...] = ()
    """The last changes, (before, after), 0 for none: what the watch of a standby may not have seen yet."""


class Flight(NamedTuple):
    """A reconcile between two of its writes. What it will write next is decided, and not done."""

    owner: int
    """The resource that it was planned from."""
    plan: int
    step: int
    """Index of the child to write; beyond the last child by one: what to prune; by two: the status."""
    prunes: tuple[int, ...] = ()
    wrote: bool = False
    blind: bool = False
    """Whether the child to write was not seen: it is looked up before it is applied over."""


class Budget(IntEnum):
    """What may still go against the operator: an index into State.left."""

    APPLY = 0
    """Users create or edit a resource."""
    DELETE = 1
    """Users delete a resource."""
    HAND = 2
    """Somebody deletes a child."""
    FAIL = 3
    """A Job fails."""
    CRASH = 4
    """The operator dies; the next one lists everything, or is a standby whose watches lag."""
    FAULT = 5
    """A write fails, with or without effect; or a watch hangs for longer than anybody waits for it."""


class Backend(NamedTuple):
    """A revision in the configuration of the routers, or that was there a moment ago."""

    revision: str
    listed: str
    """"now": a router may not have read it yet; "long ago"; "gone": it is listed no more, and may be in use still."""
    sent: str
    """Whether it gets traffic: "yes", "no", "now": it got some until a moment ago."""


class State(NamedTuple):
    """A world at one moment."""

    lanes: tuple[int, ...]
    """Number of a Lane, by kind."""
    awake: tuple[int, ...]
    """Resources that are queued, or have a timer, which may fire at any time."""
    flights: tuple[Flight, ...]
    late: tuple[int, ...]
    """Resources with a status that was put off, for less time than anything else takes."""
    doubts: tuple[tuple[int, Key], ...]
    """(resource, child): writes whose answer was lost, which are looked up before the next plan."""
    left: tuple[int, ...]
    """What is left of each Budget."""
    unseen: tuple[tuple[int, str, int], ...] = ()
    """(resource, kind, events): so many events of the kind come before the last write of the resource's reconcile."""
    dying: tuple[int, ...] = ()
    """Jobs that were deleted while their pods worked, which may still tell a result."""
    store: tuple[str, ...] = ()
    """Input digests whose artifact is finished in the store, where a world looks at that."""
    traffic: tuple[Backend, ...] = ()
    """What routers may know and send to, where a world looks at that (see serving.py)."""


def spent(state: State, budget: Budget) -> tuple[int, ...]:
    """`left` after one more of `budget`."""
    left = list(state.left)
    left[budget] -= 1
    return tuple(left)


def with_item(items: tuple[int, ...], item: int) -> tuple[int, ...]:
    """A sorted tuple with one more item."""
    return items if item in items else tuple(sorted((*items, item)))


def without(items: tuple[int, ...], item: int) -> tuple[int, ...]:
    """A tuple without an item."""
    return tuple(other for other in items if other != item)
