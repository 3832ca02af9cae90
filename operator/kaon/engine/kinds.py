"""Which kinds are watched, and since when which are not. Written by the watches, read by probes and metrics. No I/O.

A kind is watched while each of its scopes has an open watch. A kind that the cluster does not serve (its
CustomResourceDefinition is deleted, or not made yet) has no objects, so that its view is complete all the same.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

log = logging.getLogger("kaon.kinds")

SETTLING_SECONDS = 5.0
"""How long a watch may be away, e.g. while it opens again, before the operator is no longer ready."""

Scope = str | None
"""A namespace; None: all of them."""


@dataclass(slots=True)
class _Sight:
    """One kind in one scope."""

    watched: bool = False
    served: bool = True
    listed: bool = False
    since: float = -math.inf
    """When it was last watched, or began to be. At first nothing is heard of it."""


class Kinds:
    """How the watch of each kind stands."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._sights: dict[str, dict[Scope, _Sight]] = {}
        self.returned: Callable[[str], None] = lambda kind: None
        """Called with a kind that is watched again after it was not served."""

    def expect(self, kind: str, scopes: Iterable[Scope]) -> None:
        """This kind is to be watched from now on."""
        self._sights[kind] = {scope: _Sight() for scope in scopes}

    def forget(self, kind: str) -> None:
        """This kind is not to be watched any more."""
        self._sights.pop(kind, None)

    def listed(self, kind: str, scope: Scope) -> None:
        """Everything that the kind has was taken in at least once."""
        if (sight := self._sight(kind, scope)) is not None:
            sight.listed = True

    def watched(self, kind: str, scope: Scope) -> None:
        """The API server has opened the watch."""
        sight = self._sight(kind, scope)
        if sight is None or sight.watched:
            return
        returned = not sight.served
        sight.watched, sight.served, sight.since = True, True, self._now()
        if returned:
            log.info(f"the cluster serves {kind} again")
            self.returned(kind)

    def lost(self, kind: str, scope: Scope) -> None:
        """The watch is closed, or broke off."""
        sight = self._sight(kind, scope)
        if sight is not None and sight.watched:
            sight.watched, sight.since = False, self._now()

    def absent(self, kind: str, scope: Scope) -> None:
        """The API server does not know the kind."""
        self.lost(kind, scope)
        sight = self._sight(kind, scope)
        if sight is not None and sight.served:
            sight.served = False
            log.error(
                f"the cluster does not serve {kind}: its CustomResourceDefinition is missing. Install it with the Helm "
                "chart (crds.enabled=true) or with `kubectl apply --server-side -f crds/`; it is then watched by itself"
            )

    def is_settled(self, kind: str) -> bool:
        """Whether the view of a kind is complete: each scope was listed, or is not served."""
        sights = self._sights.get(kind, {})
        return bool(sights) and all(sight.listed or not sight.served for sight in sights.values())

    def is_watched(self, kind: str) -> bool:
        """Whether every change of a kind is heard of."""
        sights = self._sights.get(kind, {})
        return bool(sights) and all(sight.watched for sight in sights.values())

    def standing(self) -> dict[str, bool]:
        """Whether each kind that is to be watched is."""
        return {kind: self.is_watched(kind) for kind in self._sights}

    def unwatched(self) -> list[str]:
        """The kinds that have not been watched for a while, each with the reason."""
        before = self._now() - SETTLING_SECONDS
        return [
            f"{kind} ({'not watched' if all(sight.served for sight in sights.values()) else 'not served'})"
            for kind, sights in self._sights.items()
            if any(not sight.watched and (sight.since <= before or not sight.served) for sight in sights.values())
        ]

    def _sight(self, kind: str, scope: Scope) -> _Sight | None:
        return self._sights.get(kind, {}).get(scope)
