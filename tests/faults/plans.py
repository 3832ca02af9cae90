"""Faults and plans: what goes wrong, and at which request of a run. Pure data.

A plan is written FAULT:K, or several joined by `+`: `drop-after:12`, `kill-before:3+old-list:40`. K counts from 1 in
the fault's own sort of requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kaon.engine.client import REQUEST_SECONDS

Sort = Literal["write", "read", "watch", "event", "lease"]
"""What is counted: writes but those of leases, reads but those of leases, requests that open a watch, the events that
watches deliver, everything about leases."""

HANG_SECONDS = REQUEST_SECONDS + 2
"""Longer than the operator waits for an answer."""
LAG_SECONDS = 1.5
RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a request goes wrong."""

    name: str
    sort: Sort
    says: str

    @property
    def slow(self) -> bool:
        """Whether a run mostly waits for it."""
        return "hang" in self.name

    @property
    def kills(self) -> bool:
        """Whether it ends the operator's process."""
        return self.name.startswith("kill")


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("drop-before", "write", "connection dropped before it took effect"),
        Fault("drop-after", "write", "connection dropped after it took effect"),
        Fault("409", "write", "answered 409 Conflict"),
        Fault("410", "write", "answered 410 Gone"),
        Fault("429", "write", "answered 429 with Retry-After"),
        Fault("500", "write", "answered 500"),
        Fault("hang-before", "write", "no answer within the timeout, no effect"),
        Fault("hang-after", "write", "no answer within the timeout, took effect"),
        Fault("hang-late", "write", "took effect when the operator had given up"),
        Fault("kill-before", "write", "SIGKILL before it took effect"),
        Fault("kill-after", "write", "SIGKILL after it took effect"),
        Fault("read-drop", "read", "a read: connection dropped"),
        Fault("read-429", "read", "a read: answered 429 with Retry-After"),
        Fault("read-500", "read", "a read: answered 500"),
        Fault("read-hang", "read", "a read: no answer within the timeout"),
        Fault("watch-drop", "watch", "a watch: connection dropped when it opens"),
        Fault("watch-410", "watch", "a watch: answered 410 when it opens"),
        Fault("watch-500", "watch", "a watch: answered 500 when it opens"),
        Fault("cut", "event", "watch cut before this event"),
        Fault("expire", "event", "watch says 410 instead of this event"),
        Fault("error", "event", "watch says 500 instead of this event"),
        Fault("old-list", "event", "watch says 410, then the oldest list is delivered"),
        Fault("lag", "event", f"watch falls {LAG_SECONDS} s behind from this event on"),
    )
}


@dataclass(frozen=True, slots=True, order=True)
class Injection:
    """A fault at the k-th request of its sort."""

    fault: str
    at: int

    def __str__(self) -> str:
        return f"{self.fault}:{self.at}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that goes wrong in one run."""

    injections: tuple[Injection, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan that `str` wrote.

        Raises:
            ValueError: that is no plan.
        """
        injections = []
        for part in text.split("+"):
            name, _, at = part.partition(":")
            if name not in FAULTS or not at.isdigit() or int(at) < 1:
                raise ValueError(f"{part!r} is no FAULT:K; faults are {', '.join(FAULTS)}")
            injections.append(Injection(name, int(at)))
        return cls(tuple(injections))

    @classmethod
    def of(cls, fault: str, at: int) -> Plan:
        """The plan of one fault."""
        return cls((Injection(fault, at),))

    def __str__(self) -> str:
        return "+".join(map(str, self.injections)) or "none"

    def find(self, sort: Sort, number: int) -> Injection | None:
        """What happens to the request of that number."""
        for injection in self.injections:
            if injection.at == number and FAULTS[injection.fault].sort == sort:
                return injection
        return None

    @property
    def slow(self) -> bool:
        """Whether a run of it mostly waits."""
        return any(FAULTS[injection.fault].slow for injection in self.injections)

    @property
    def kills(self) -> bool:
        """Whether the operator's process is ended in a run of it."""
        return any(FAULTS[injection.fault].kills for injection in self.injections)
