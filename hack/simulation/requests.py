"""How many requests the API server was sent, by whom and for what. Pure.

Counted are requests for objects: reads of one object and all writes, whatever the answer. Not counted are lists and
watches (each client has its few, however many runs there are), renewals of leases, heartbeats of nodes, and paths
that are about no object (discovery, health, metrics).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import orjson

UNCOUNTED_VERBS = frozenset({"LIST", "WATCH", "WATCHLIST", "CONNECT"})
UNCOUNTED_RESOURCES = frozenset({"", "leases", "nodes"})
WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
_VERBS = {"create": "POST", "update": "PUT", "patch": "PATCH"}
_SAMPLE = re.compile(r"apiserver_request_total\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Request = tuple[str, str]
"""(verb, resource or resource/subresource)."""


def requests_in(metrics: str) -> Counter[Request]:
    """The requests so far, from the API server's /metrics."""
    found: Counter[Request] = Counter()
    for labels, value in _SAMPLE.findall(metrics):
        told = dict(_LABEL.findall(labels))
        if _counted(told["verb"], told["resource"]):
            found[told["verb"], _named(told["resource"], told["subresource"])] += int(float(value))
    return found


def requests_by_agent(audit: Iterable[bytes], *, leases: bool = False) -> Counter[tuple[str, str, str]]:
    """(user agent, verb, resource) -> requests, from the lines of an audit log; with renewals of leases if told."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in audit:
        event = orjson.loads(line)
        about = event.get("objectRef", {})
        verb = _VERBS.get(event["verb"], event["verb"].upper())
        resource = about.get("resource", "")
        if _counted(verb, resource) or (leases and resource == "leases"):
            found[agent_name(event.get("userAgent", "")), verb, _named(resource, about.get("subresource", ""))] += 1
    return found


def _counted(verb: str, resource: str) -> bool:
    return verb not in UNCOUNTED_VERBS and resource not in UNCOUNTED_RESOURCES


def _named(resource: str, subresource: str) -> str:
    return f"{resource}/{subresource}" if subresource else resource


def agent_name(user_agent: str) -> str:
    """A user agent without versions: the program, and which controller of the controller manager."""
    program = user_agent.split("/")[0]
    role = user_agent.rsplit("/", 1)[-1]
    return f"{program} {role}" if program == "kube-controller-manager" and role.isascii() else program


def breakdown(found: Counter[Request] | Counter[tuple[str, str, str]], runs: int) -> str:
    """A table of requests a run, most frequent first."""
    lines = [f"{count / runs:8.2f}  {'  '.join(key)}" for key, count in found.most_common() if count / runs >= 0.005]
    return "\n".join([*lines, f"{found.total() / runs:8.2f}  in all"])
