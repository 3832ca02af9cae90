"""Whether pods may be placed as users say: what reaches beyond a namespace needs its administrator's word. Pure.

Nodes are chosen freely by label; a taint, a priority above others, another runtime or another account is something that
an administrator keeps from some. The schema cannot say what this cluster allows, so the operator does, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kaon.api import conditions as c
from kaon.api.podtemplate import PodTemplate
from kaon.controllers.conditions import State
from kaon.resources.access import JOB_IDENTITY
from kaon.resources.podpolicy import ANY, Placement


def refused_placement(
    templates: Mapping[str, PodTemplate], namespace: str, allowed: Placement, *, accounts: bool = True
) -> State | None:
    """Why pods of these templates (by the field that holds them) are not made, or None.

    accounts: whether the pods have an account at all.
    """
    for field, template in templates.items():
        for message in _refusals(field, template, namespace, allowed, accounts):
            return State("Failed", c.PLACEMENT_NOT_ALLOWED, message, stalled=True)
    return None


def _refusals(field: str, template: PodTemplate, namespace: str, allowed: Placement, accounts: bool) -> Iterator[str]:
    account = template.service_account_name
    if accounts and account not in (None, JOB_IDENTITY):
        names = (str(account), f"{namespace}/{account}")
        if not _allows(allowed.service_accounts, *names):
            may = (JOB_IDENTITY, *allowed.service_accounts)
            yield _sentence(f"{field}.serviceAccountName", names[0], may, "serviceAccounts")
    for name, value, may, key in (
        ("priorityClassName", template.priority_class_name, allowed.priority_classes, "priorityClasses"),
        ("runtimeClassName", template.runtime_class_name, allowed.runtime_classes, "runtimeClasses"),
    ):
        if value is not None and not _allows(may, value):
            yield _sentence(f"{field}.{name}", value, may, key)
    for index, toleration in enumerate(template.tolerations):
        taint = toleration.key or "every taint"
        if not _allows(allowed.tolerations, *((toleration.key,) if toleration.key else ())):
            yield _sentence(f"{field}.tolerations[{index}]", taint, allowed.tolerations, "tolerations")


def _allows(allowed: tuple[str, ...], *names: str) -> bool:
    return ANY in allowed or any(name in allowed for name in names)


def _sentence(field: str, value: str, allowed: tuple[str, ...], key: str) -> str:
    may = f"Allowed here: {', '.join(allowed)}." if allowed else "None is allowed here."
    return (
        f"{field} is {value}, which this installation of Kaon does not allow. {may} Choose one of these or remove the "
        f"field, or ask the cluster's administrator to add it to podTemplate.allowed.{key} in Kaon's Helm values."
    )
