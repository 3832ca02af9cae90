"""Rights as RBAC gives them, and as the API server's audit log shows them to be used or refused. Pure.

A right is a verb on a resource of a group, perhaps of one name only. What a request needs beside its own verb is known
here: an apply that makes its object is a use of `create` too, although nothing of that verb was sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Event = dict[str, Any]
Rule = dict[str, Any]
FORBID = "forbid"
MADE_CODE = 201
"""The answer to an apply that made its object."""


class Right(NamedTuple):
    """One verb on one resource. `group` is "" for the core group; `name` "" for every name."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        where = f"{self.resource}.{self.group}".rstrip(".")
        return f"{self.verb} {where}{f' {self.name!r}' if self.name else ''}"


class Refusal(NamedTuple):
    """A request that the authorizer refused."""

    account: str
    right: Right
    namespace: str

    def __str__(self) -> str:
        return f"{self.account} may not {self.right} in {self.namespace or 'all namespaces'}"


CHILDREN = {
    "": ("configmaps", "services"),
    "apps": ("deployments",),
    "policy": ("poddisruptionbudgets",),
    "networking.k8s.io": ("networkpolicies",),
    "monitoring.coreos.com": ("podmonitors", "prometheusrules"),
}
"""What is applied, and pruned when it leaves the plan."""
CREATED = {"batch": ("jobs",), "kaon.dev": ("reports",), "": ("serviceaccounts",)}
"""What is created once and never changed."""
KINDS = ("datasets", "trainingruns", "compressionjobs", "modeldeployments")


def _each(resources: dict[str, tuple[str, ...]], *verbs: str) -> set[Right]:
    return {Right(group, name, verb) for group, names in resources.items() for name in names for verb in verbs}


NEEDED_THOUGH_UNUSED: dict[str, set[Right]] = {
    "no request bears this verb: the API server asks for it when a RoleBinding is made": {
        Right("rbac.authorization.k8s.io", "clusterroles", "bind", "kaon-job")
    },
    "no request bears this verb: some API servers ask for it when an owner reference blocks a deletion": {
        Right("kaon.dev", f"{kind}/finalizers", "update") for kind in KINDS
    },
    "asked only when a creation finds its object there, made before a crash": (
        _each(CREATED, "get") | {Right("rbac.authorization.k8s.io", "rolebindings", "get")}
    ),
    "pruned only when it leaves the plan while its resource lives, which few of these ever do": _each(
        CHILDREN, "delete"
    ),
    "a stage is pruned only when its digest changes or its result is lost": _each(
        {"batch": ("jobs",), "kaon.dev": ("reports",)}, "delete"
    ),
    "made only for a model of two replicas or more, for which one machine has no room": _each(
        {"policy": ("poddisruptionbudgets",)}, "get", "create", "patch"
    ),
    "a Job is changed only when spec.suspend is": {Right("batch", "jobs", "patch")},
}
"""Rights that no end-to-end test need use, by the reason for which they are given."""


def granted(rules: Iterable[Rule]) -> set[Right]:
    """Every right that the rules of Roles or ClusterRoles give, one by one."""
    return {
        Right(group, resource, verb, name)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
    }


def used(events: Iterable[Event], account: str) -> set[Right]:
    """The rights that an account used, as (group, resource, verb, the name of the object)."""
    found = set()
    for event in events:
        if account_of(event) == account and not _refused(event) and "objectRef" in event:
            right = _right(event)
            found.add(right)
            if right.verb == "patch" and event.get("responseStatus", {}).get("code") == MADE_CODE:
                found.add(right._replace(verb="create"))
    return found


def refusals(events: Iterable[Event], accounts: Iterable[str]) -> set[Refusal]:
    """What the authorizer refused these accounts. A refusal of another kind (a quota, an ending namespace) is none."""
    wanted = set(accounts)
    return {
        Refusal(account_of(event), _right(event), event["objectRef"].get("namespace", ""))
        for event in events
        if account_of(event) in wanted and _refused(event) and "objectRef" in event
    }


def unused(given: Iterable[Right], uses: Iterable[Right]) -> set[Right]:
    """What was given and not used. A right to one name is used by a request for that name only."""
    seen = set(uses)
    anything = {right._replace(name="") for right in seen}
    return {right for right in given if right not in (seen if right.name else anything)}


def excess(given: set[Right], uses: set[Right]) -> list[str]:
    """Rights that were given, not used, and have no reason."""
    reasoned = set().union(*NEEDED_THOUGH_UNUSED.values())
    return sorted(map(str, unused(given, uses) - reasoned))


def account_of(event: Event) -> str:
    """namespace/name of the service account that asked."""
    user: str = event.get("user", {}).get("username", "")
    return user.removeprefix("system:serviceaccount:").replace(":", "/", 1)


def _refused(event: Event) -> bool:
    decision: str = event.get("annotations", {}).get("authorization.k8s.io/decision", "")
    return decision == FORBID


def _right(event: Event) -> Right:
    about = event["objectRef"]
    below = about.get("subresource")
    resource = f"{about['resource']}/{below}" if below else about["resource"]
    return Right(about.get("apiGroup", ""), resource, event["verb"], about.get("name", ""))
